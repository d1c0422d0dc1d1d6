# SPDX-License-Identifier: GPL-2.0
# what: a look-up is not given up when its object is dropped
# file: fs/cachefiles/cache/ondemand/engine.rs
# test: an_object_goes_away_while_it_is_looked_up
s/\n        object\.abandon_look_up\(\);//
