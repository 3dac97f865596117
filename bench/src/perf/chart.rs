//! A chart as SVG: rates against calls in flight or connections, both axes logarithmic.
//!
//! Own code, since it is a page of it: lines with dots, decades as grid, a legend at the right. Sizes are pixels.

use std::fmt::Write;

use crate::report::short;

/// One line of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// As it stands in the legend.
    pub name: String,
    /// Whether it is a floor, and drawn dashed.
    pub dashed: bool,
    /// Which colour it has; lines that belong together share one.
    pub colour: usize,
    /// From left to right; both above 0.
    pub points: Vec<(f64, f64)>,
}

/// The chart, with a title and a name for the horizontal axis.
pub fn svg(title: &str, across: &str, series: &[Series]) -> String {
    let points = || series.iter().flat_map(|one| &one.points);
    let (x, y) = (Axis::over(points().map(|point| point.0)), Axis::over(points().map(|point| point.1)));
    let at = |(right, up): (f64, f64)| (LEFT + x.part(right) * WIDTH, TOP + HEIGHT - y.part(up) * HEIGHT);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{}</text>\n",
        LEFT + WIDTH + RIGHT,
        TOP + HEIGHT + BOTTOM,
        escaped(title)
    );
    // Writing to a String cannot fail.
    for tick in x.ticks() {
        let (right, _) = at((tick, y.low));
        let _ = writeln!(
            text,
            "<line x1=\"{right:.1}\" y1=\"{TOP}\" x2=\"{right:.1}\" y2=\"{}\" stroke=\"#ddd\"/><text x=\"{right:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            TOP + HEIGHT,
            TOP + HEIGHT + 18.0,
            short(tick).replace(".00", "").replace(".0", "")
        );
    }
    for tick in y.ticks() {
        let (_, up) = at((x.low, tick));
        let _ = writeln!(
            text,
            "<line x1=\"{LEFT}\" y1=\"{up:.1}\" x2=\"{}\" y2=\"{up:.1}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT + WIDTH,
            LEFT - 6.0,
            up + 4.0,
            short(tick).replace(".00", "").replace(".0", "")
        );
    }
    let _ = writeln!(
        text,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text><text x=\"14\" y=\"{}\">calls/s</text>",
        LEFT + WIDTH / 2.0,
        TOP + HEIGHT + 38.0,
        escaped(across),
        TOP - 8.0
    );
    for (n, one) in series.iter().enumerate() {
        let colour = COLOURS[one.colour % COLOURS.len()];
        let dash = if one.dashed { " stroke-dasharray=\"5 4\"" } else { "" };
        let placed: Vec<_> = one.points.iter().map(|point| at(*point)).collect();
        let line: Vec<_> = placed.iter().map(|(right, up)| format!("{right:.1},{up:.1}")).collect();
        let _ = writeln!(
            text,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>",
            line.join(" ")
        );
        for (right, up) in placed {
            let _ = writeln!(text, "<circle cx=\"{right:.1}\" cy=\"{up:.1}\" r=\"2.5\" fill=\"{colour}\"/>");
        }
        let (right, down) = (LEFT + WIDTH + 14.0, TOP + 10.0 + 20.0 * n as f64);
        let _ = writeln!(
            text,
            "<line x1=\"{right}\" y1=\"{down}\" x2=\"{}\" y2=\"{down}\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/><text x=\"{}\" y=\"{}\">{}</text>",
            right + 22.0,
            right + 28.0,
            down + 4.0,
            escaped(&one.name)
        );
    }
    text + "</svg>\n"
}

/// A logarithmic axis of whole decades.
#[derive(Debug, Clone, Copy)]
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values
            .filter(|value| *value > 0.0)
            .fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        if high == 0.0 {
            return Self { low: 1.0, high: 10.0 };
        }
        let (low, mut high) = (10_f64.powf(low.log10().floor()), 10_f64.powf(high.log10().ceil()));
        if high <= low {
            high = 10.0 * low;
        }
        Self { low, high }
    }

    /// Where a value lies, 0 at the low end and 1 at the high.
    fn part(self, value: f64) -> f64 {
        (value / self.low).log10() / (self.high / self.low).log10()
    }

    fn ticks(self) -> Vec<f64> {
        std::iter::successors(Some(self.low), |tick| Some(tick * 10.0))
            .take_while(|tick| *tick <= self.high * 1.001)
            .collect()
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const LEFT: f64 = 64.0;
const TOP: f64 = 48.0;
const WIDTH: f64 = 620.0;
const HEIGHT: f64 = 380.0;
/// Room for the legend.
const RIGHT: f64 = 260.0;
const BOTTOM: f64 = 52.0;

/// Told apart by people who do not see all colours (Okabe and Ito, 2008).
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#882255"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_stand_where_their_logarithms_are() {
        let series = [Series {
            name: "a < b".into(),
            dashed: true,
            colour: 0,
            points: vec![(1.0, 1e3), (10.0, 1e4), (100.0, 1e5)],
        }];
        let text = svg("t & u", "calls", &series);
        // Left bottom, the middle of both, right top.
        let line = format!(
            "points=\"{LEFT:.1},{:.1} {:.1},{:.1} {:.1},{TOP:.1}\"",
            TOP + HEIGHT,
            LEFT + WIDTH / 2.0,
            TOP + HEIGHT / 2.0,
            LEFT + WIDTH
        );
        assert!(text.contains(&line), "{line}\n{text}");
        assert!(text.contains("a &lt; b") && text.contains("t &amp; u") && text.contains("stroke-dasharray"));
        assert!(text.starts_with("<svg") && text.ends_with("</svg>\n"));
        assert_eq!(text.matches("<circle").count(), 3);
        for word in ["100K", "10K", ">100<", ">1<"] {
            assert!(text.contains(word), "{word}");
        }
    }

    #[test]
    fn nothing_and_one_point_are_charts_too() {
        for points in [vec![], vec![(1.0, 1.0)], vec![(3.0, 200.0)]] {
            let text = svg("t", "x", &[Series { name: "a".into(), dashed: false, colour: 9, points }]);
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        }
    }
}
