# SPDX-License-Identifier: GPL-2.0
# What Sphinx takes to make HTML of these pages: see `make docs`.

project = "cachefiles in Rust"
author = "its authors"
copyright = "its authors; GPL-2.0"
root_doc = "index"
exclude_patterns = ["benchmarks/*.md"]
highlight_language = "none"
html_theme = "alabaster"
html_show_sourcelink = False
html_theme_options = {"body_max_width": "60em", "page_width": "auto"}
