// SPDX-License-Identifier: GPL-2.0
//! A curve for each figure that was measured over several n: C and ours, both axes logarithmic.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::data::Row;

const SIZE: (u32, u32) = (640, 400);

/// Draws them all; gives back the files.
pub fn draw(rows: &[Row], out: &Path, module: &str) -> Result<Vec<PathBuf>> {
    let mut curves: BTreeMap<_, Vec<(f64, &Row)>> = BTreeMap::new();
    for row in rows {
        if let Some(n) = row.n {
            curves
                .entry((&row.row, &row.metric, &row.store))
                .or_default()
                .push((n as f64, row));
        }
    }
    let mut files = Vec::new();
    for ((row, metric, store), mut points) in curves {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        // Nothing to see in a figure that is zero, and none on a logarithmic axis.
        if points.len() < 2
            || points
                .iter()
                .any(|(_, row)| row.c.median <= 0.0 || row.other.median <= 0.0)
        {
            continue;
        }
        let name: String = format!("{row} {metric} {store}")
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-'))
            .map(|c| {
                if c == ' ' {
                    '-'
                } else {
                    c.to_ascii_lowercase()
                }
            })
            .collect();
        let file = out.join(name + ".svg");
        let title = format!("{row}: {metric} ({store})");
        curve(&file, &title, &points, module)
            .map_err(|error| anyhow!("{}: {error}", file.display()))?;
        files.push(file);
    }
    Ok(files)
}

fn curve(
    file: &Path,
    title: &str,
    points: &[(f64, &Row)],
    module: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    let c: Vec<_> = points.iter().map(|(n, row)| (*n, row.c.median)).collect();
    let other: Vec<_> = points
        .iter()
        .map(|(n, row)| (*n, row.other.median))
        .collect();
    let values = || c.iter().chain(&other).map(|point| point.1);
    let low = values().fold(f64::INFINITY, f64::min) / 2.0;
    let high = values().fold(0.0, f64::max) * 2.0;
    let (first, last) = (points[0].0, points[points.len() - 1].0);
    {
        let root = SVGBackend::new(file, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(80)
            .build_cartesian_2d((first..last).log_scale(), (low..high).log_scale())?;
        chart
            .configure_mesh()
            .x_desc("n")
            .y_desc(points[0].1.unit.as_str())
            .x_label_formatter(&|n| format!("{n:.0}"))
            .y_label_formatter(&|value| short(*value))
            .draw()?;
        for (label, points, colour) in [("C", c, RED), (module, other, BLUE)] {
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))?
                .label(label)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2))
                });
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .border_style(BLACK)
            .draw()?;
        root.present()?;
    }
    // Every file of the tree says under which licence it is.
    let drawn = std::fs::read_to_string(file)?;
    Ok(std::fs::write(
        file,
        format!("<!-- SPDX-License-Identifier: GPL-2.0 -->\n{drawn}"),
    )?)
}

fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.0}M", value / 1e6),
        value if value >= 1e3 => format!("{:.0}k", value / 1e3),
        value if value >= 1.0 => format!("{value:.0}"),
        value => format!("{value:.2}"),
    }
}
