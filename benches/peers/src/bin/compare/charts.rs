//! The charts: CPU for each answer as bars, and how cost grows as curves.

use crate::campaign::Row;
use crate::servers::{Rank, Server};
use crate::svg::{Anchor, Svg};
use crate::works::Axis;

const OURS: &str = "#c2410c";
const YARDSTICK: &str = "#64748b";
const PEER: &str = "#93b4d8";
const GRID: &str = "#d8dde4";
/// Bars of a higher ratio are cut off, and say how high it is.
const RATIO_MAX: f64 = 4.0;

fn colour(server: &Server) -> &'static str {
    match server.rank {
        Rank::Yardstick => YARDSTICK,
        Rank::Ours => OURS,
        Rank::Peer => PEER,
    }
}

/// For each work, the servers' CPU for each answer as a ratio to the yardstick.
pub fn bars(rows: &[Row]) -> String {
    const LEFT: f64 = 150.0;
    const SCALE: f64 = 130.0;
    const BAR: f64 = 15.0;
    const GAP: f64 = 34.0;
    const TOP: f64 = 40.0;
    let rows: Vec<_> = rows.iter().filter(|row| row.work.growth.is_none()).collect();
    let height = TOP + rows.iter().map(|row| row.cells.len() as f64 * BAR + GAP).sum::<f64>();
    let mut svg = Svg::new(LEFT + SCALE * RATIO_MAX + 70.0, height);
    svg.text(12.0, 24.0, Anchor::Start, 15.0, "CPU of the server for each answer, bare epoll = 1 (less is better)");
    let mut y = TOP;
    for row in rows {
        svg.text(12.0, y + 14.0, Anchor::Start, 12.0, &row.work.title);
        y += 20.0;
        for tick in 1..=RATIO_MAX as u32 {
            let x = LEFT + SCALE * f64::from(tick);
            svg.line((x, y), (x, y + row.cells.len() as f64 * BAR), GRID);
        }
        for cell in &row.cells {
            svg.text(LEFT - 6.0, y + BAR - 4.0, Anchor::End, 11.0, cell.server.name);
            let ratio = row.yardstick().and_then(|other| cell.ratio_to(other)).map(|ratio| ratio.median);
            let (length, label) = match ratio {
                Some(ratio) => (ratio.min(RATIO_MAX) * SCALE, format!("{ratio:.2}")),
                None => (0.0, "failed".into()),
            };
            svg.rectangle(LEFT, y + 1.0, length, BAR - 2.0, colour(cell.server));
            svg.text(LEFT + length + 5.0, y + BAR - 4.0, Anchor::Start, 11.0, label);
            y += BAR;
        }
        y += GAP - 20.0;
    }
    svg.finish()
}

/// CPU for each answer along an axis, both by powers. `None` if that was not measured.
pub fn curves(rows: &[Row], axis: Axis) -> Option<String> {
    const LEFT: f64 = 70.0;
    const TOP: f64 = 50.0;
    const WIDTH: f64 = 560.0;
    const HEIGHT: f64 = 300.0;
    let along = |row: &Row| row.work.growth.filter(|(of, _)| *of == axis).map(|(_, value)| value as f64);
    let points: Vec<_> = rows.iter().filter_map(|row| Some((along(row)?, row))).collect();
    let values = || points.iter().flat_map(|(_, row)| row.cells.iter().filter_map(|cell| cell.cpu()));
    let (first, last) = (points.first()?.0, points.last()?.0);
    let low = values().fold(f64::INFINITY, f64::min).log10().floor();
    let high = values().fold(0.0, f64::max).log10().ceil().max(low + 1.0);
    if !(low.is_finite() && high.is_finite() && last > first) {
        return None;
    }
    let x = |value: f64| LEFT + WIDTH * (value / first).log2() / (last / first).log2();
    let y = |value: f64| TOP + HEIGHT * (high - value.log10()) / (high - low);
    let mut svg = Svg::new(LEFT + WIDTH + 120.0, TOP + HEIGHT + 60.0);
    svg.text(12.0, 24.0, Anchor::Start, 15.0, "CPU of the server for each answer, in microseconds");
    for power in low as i32..=high as i32 {
        let value = 10_f64.powi(power);
        svg.line((LEFT, y(value)), (LEFT + WIDTH, y(value)), GRID);
        svg.text(LEFT - 8.0, y(value) + 4.0, Anchor::End, 11.0, value);
    }
    for (value, _) in &points {
        svg.line((x(*value), TOP), (x(*value), TOP + HEIGHT), GRID);
        svg.text(x(*value), TOP + HEIGHT + 18.0, Anchor::Middle, 11.0, count(*value));
    }
    svg.text(LEFT + WIDTH / 2.0, TOP + HEIGHT + 44.0, Anchor::Middle, 12.0, axis.title());
    for (index, cell) in points.first()?.1.cells.iter().enumerate() {
        let of = |(value, row): &(f64, &Row)| Some((x(*value), y(row.cell(cell.server.name)?.cpu()?)));
        svg.curve(&points.iter().filter_map(of).collect::<Vec<_>>(), colour(cell.server));
        let at = TOP + 16.0 + 20.0 * index as f64;
        svg.rectangle(LEFT + WIDTH + 14.0, at - 9.0, 12.0, 10.0, colour(cell.server));
        svg.text(LEFT + WIDTH + 31.0, at, Anchor::Start, 12.0, cell.server.name);
    }
    Some(svg.finish())
}

fn count(value: f64) -> String {
    match value {
        value if value >= f64::from(1 << 20) => format!("{}Mi", value / f64::from(1 << 20)),
        value if value >= 1024.0 && value % 1024.0 == 0.0 => format!("{}Ki", value / 1024.0),
        value => value.to_string(),
    }
}
