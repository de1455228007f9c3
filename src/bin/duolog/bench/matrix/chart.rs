//! Charts as SVG text: lines over two axes, and bars around a line.
//!
//! Nothing here knows what is charted. Colors come from the page by class, so
//! that a chart follows a light or a dark reader; what a point is shows as its
//! tooltip (`<title>`), which needs no script.

use std::fmt::Write;

/// Widths for three, two or one chart in a row: text stays of one size.
pub(super) const NARROW: f64 = 400.0;
pub(super) const HALF: f64 = 590.0;
pub(super) const WHOLE: f64 = 1170.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 52.0;

/// Height of a bar with its gap.
const ROW: f64 = 21.0;
/// Room for the names of bars.
const NAMES: f64 = 330.0;
const BARS_WIDTH: f64 = 1120.0;

/// Most steps of an axis: 1, 2, 5, 10, ... over 18 decades.
const STEPS_MAX: usize = 54;

/// A number as a label shows it.
pub(super) type Format = fn(f64) -> String;

/// An axis, and where on it a value is.
#[derive(Clone, Debug)]
pub(super) enum Axis {
    /// From `low` to `high`, each decade of the same length.
    Log { low: f64, high: f64, label: Format },
    /// From `low` to `high` evenly, with names at some values.
    Named {
        low: f64,
        high: f64,
        names: Vec<(f64, String)>,
    },
}

impl Axis {
    /// Logarithmic over all `values` above zero, out to the next 1, 2 or 5.
    pub(super) fn log(values: impl Iterator<Item = f64>, label: Format) -> Self {
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        for value in values.filter(|value| *value > 0.0) {
            low = low.min(value);
            high = high.max(value);
        }
        if high <= 0.0 {
            (low, high) = (1.0, 10.0);
        }
        let below = steps_from(low / 10.0).filter(|step| *step <= low).last();
        let above = steps_from(high).find(|step| *step >= high * 1.02);
        let low = below.unwrap_or(low);
        let high = above.unwrap_or(high).max(low * 5.0);
        Self::Log { low, high, label }
    }

    /// Names in a row, at 0, 1, 2 and so on.
    pub(super) fn row(names: Vec<String>) -> Self {
        let mut at = -1.0;
        let place = |name| {
            at += 1.0;
            (at, name)
        };
        let names: Vec<_> = names.into_iter().map(place).collect();
        let high = names.len().saturating_sub(1);
        let high = f64::from(u32::try_from(high).unwrap_or(u32::MAX));
        Self::Named {
            low: -0.35,
            high: high + 0.35,
            names,
        }
    }

    /// From 0 at the beginning to 1 at the end.
    fn at(&self, value: f64) -> f64 {
        let at = match self {
            Self::Log { low, high, .. } => (value.max(*low) / low).log10() / (high / low).log10(),
            Self::Named { low, high, .. } => (value - low) / (high - low),
        };
        at.clamp(0.0, 1.0)
    }

    /// Values with their labels; no more of them than can be read.
    fn ticks(&self) -> Vec<(f64, String)> {
        match self {
            Self::Named { names, .. } => names.clone(),
            Self::Log { low, high, label } => {
                let all = steps_from(*low).take_while(|step| *step <= high * 1.001);
                let wide = (high / low).log10() > 2.4;
                all.filter(|step| !wide || is_decade(*step))
                    .map(|step| (step, label(step)))
                    .collect()
            }
        }
    }
}

/// 1, 2, 5, 10, 20, 50 and so on, in the decade of `low` and above.
fn steps_from(low: f64) -> impl Iterator<Item = f64> {
    let decade = 10_f64.powf((low * 1.000_001).log10().floor());
    let mut scale = decade;
    let mut steps = [1.0, 2.0, 5.0].into_iter().cycle();
    let all = std::iter::from_fn(move || {
        let step = steps.next()?;
        let value = scale * step;
        if step > 4.0 {
            scale *= 10.0;
        }
        Some(value)
    });
    all.skip_while(move |step| *step < low * 0.999)
        .take(STEPS_MAX)
}

fn is_decade(value: f64) -> bool {
    let exponent = value.log10();
    (exponent - exponent.round()).abs() < 1e-6
}

/// A point, what its tooltip says, and what stands beside it.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) tip: String,
    pub(super) label: String,
}

/// Points that belong together.
#[derive(Clone, Debug)]
pub(super) struct Series {
    /// Class of the page that has the color.
    pub(super) class: &'static str,
    /// Which of [`marker`]'s shapes; none for a line alone.
    pub(super) shape: Option<usize>,
    pub(super) dashed: bool,
    pub(super) points: Vec<Point>,
}

/// A chart of lines.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    pub(super) width: f64,
    pub(super) title: String,
    pub(super) x_name: &'static str,
    pub(super) y_name: &'static str,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
}

/// `text` with what HTML would take for markup escaped.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// A shape around a point.
pub(super) fn marker(shape: usize, x: f64, y: f64) -> String {
    let polygon = |corners: &[(f64, f64)]| {
        let corners: Vec<String> = corners
            .iter()
            .map(|(dx, dy)| format!("{:.1},{:.1}", x + dx, y + dy))
            .collect();
        format!("<polygon points=\"{}\"/>", corners.join(" "))
    };
    match shape % 4 {
        0 => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\"/>"),
        1 => polygon(&[(-4.3, -4.3), (4.3, -4.3), (4.3, 4.3), (-4.3, 4.3)]),
        2 => polygon(&[(0.0, -5.4), (5.2, 4.2), (-5.2, 4.2)]),
        _ => polygon(&[(0.0, -6.0), (6.0, 0.0), (0.0, 6.0), (-6.0, 0.0)]),
    }
}

impl Lines {
    /// The whole chart.
    pub(super) fn svg(&self) -> String {
        let mut svg = format!(
            "<svg viewBox=\"0 0 {} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
            self.width,
            escape(&self.title)
        );
        self.frame(&mut svg);
        for series in &self.series {
            self.line(&mut svg, series);
        }
        // Above all lines: what is under the pointer must be the point.
        for series in &self.series {
            self.markers(&mut svg, series);
        }
        self.labels(&mut svg);
        svg.push_str("</svg>\n");
        svg
    }

    fn place(&self, point: &Point) -> (f64, f64) {
        (self.place_x(point.x), self.place_y(point.y))
    }

    fn place_x(&self, x: f64) -> f64 {
        LEFT + self.x.at(x) * (self.width - LEFT - RIGHT)
    }

    fn place_y(&self, y: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.at(y) * (HEIGHT - TOP - BOTTOM)
    }

    fn frame(&self, svg: &mut String) {
        let (right, bottom) = (self.width - RIGHT, HEIGHT - BOTTOM);
        let mut put = |line: String| writeln!(svg, "{line}").expect("written to memory");
        put(format!(
            "<text class=\"title\" x=\"{LEFT}\" y=\"18\">{}</text>",
            escape(&self.title)
        ));
        for (value, label) in self.x.ticks() {
            let x = self.place_x(value);
            put(format!(
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
                 <text class=\"tick\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
                bottom + 17.0,
                escape(&label)
            ));
        }
        for (value, label) in self.y.ticks() {
            let y = self.place_y(value);
            put(format!(
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"tick\" text-anchor=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                LEFT - 7.0,
                y + 4.0,
                escape(&label)
            ));
        }
        let middle = f64::midpoint(LEFT, right);
        put(format!(
            "<text class=\"axis\" text-anchor=\"middle\" x=\"{middle:.1}\" y=\"{:.1}\">{}</text>",
            HEIGHT - 12.0,
            escape(self.x_name)
        ));
        let middle = f64::midpoint(TOP, bottom);
        put(format!(
            "<text class=\"axis\" text-anchor=\"middle\" transform=\"rotate(-90 14 {middle:.1})\" \
             x=\"14\" y=\"{middle:.1}\">{}</text>",
            escape(self.y_name)
        ));
    }

    fn line(&self, svg: &mut String, series: &Series) {
        let corners: Vec<String> = series
            .points
            .iter()
            .map(|point| self.place(point))
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let dashed = if series.dashed { " dashed" } else { "" };
        let (class, corners) = (series.class, corners.join(" "));
        writeln!(
            svg,
            "<polyline class=\"line {class}{dashed}\" points=\"{corners}\"/>"
        )
        .expect("written to memory");
    }

    fn markers(&self, svg: &mut String, series: &Series) {
        for point in &series.points {
            let (x, y) = self.place(point);
            // A line alone has points to hover over all the same.
            let shape = series.shape.map_or_else(
                || format!("<circle class=\"hover\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"7\"/>"),
                |shape| marker(shape, x, y),
            );
            let (class, tip) = (series.class, escape(&point.tip));
            writeln!(
                svg,
                "<g class=\"mark {class}\"><title>{tip}</title>{shape}</g>"
            )
            .expect("written to memory");
        }
    }

    /// Labels beside their points, where they cover neither points nor each
    /// other; those without room are left out, the tooltips have them.
    fn labels(&self, svg: &mut String) {
        let all = self.series.iter().flat_map(|series| &series.points);
        let mut taken: Vec<[f64; 4]> = all
            .map(|point| self.place(point))
            .map(|(x, y)| [x - 6.0, y - 6.0, x + 6.0, y + 6.0])
            .collect();
        for series in &self.series {
            for point in series.points.iter().filter(|point| !point.label.is_empty()) {
                let (x, y) = self.place(point);
                let len = u32::try_from(point.label.len()).unwrap_or(0);
                let width = f64::from(len) * 6.6;
                let tries = [(8.0, -3.0), (-width / 2.0, -9.0), (8.0, 13.0)];
                let more = [
                    (-width / 2.0, 19.0),
                    (-width - 8.0, -3.0),
                    (-width - 8.0, 13.0),
                ];
                let boxes = tries.iter().chain(&more).map(|(dx, dy)| {
                    let (left, base) = (x + dx, y + dy);
                    [left, base - 9.0, left + width, base + 2.0]
                });
                let mut free = boxes.filter(|place| {
                    let [left, top, right, bottom] = *place;
                    let inside = left > LEFT && right < self.width && top > TOP - 8.0;
                    inside && bottom < HEIGHT - BOTTOM && !taken.iter().any(|t| overlap(t, place))
                });
                let Some(place) = free.next() else {
                    continue;
                };
                let [left, _, _, bottom] = place;
                let (class, label) = (series.class, escape(&point.label));
                writeln!(
                    svg,
                    "<text class=\"label {class}\" x=\"{left:.1}\" y=\"{:.1}\">{label}</text>",
                    bottom - 2.0
                )
                .expect("written to memory");
                taken.push(place);
            }
        }
    }
}

fn overlap(a: &[f64; 4], b: &[f64; 4]) -> bool {
    let ([al, at, ar, ab], [bl, bt, br, bb]) = (a, b);
    al < br && bl < ar && at < bb && bt < ab
}

/// A bar: from the line at 1 to its value.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) class: &'static str,
    pub(super) tip: String,
}

/// Bars on a logarithmic axis, to the right above 1 and to the left below.
pub(super) fn bars(title: &str, bars: &[Bar]) -> String {
    let values = bars.iter().map(|bar| bar.value).chain([1.0, 0.9, 1.1]);
    let axis = Axis::log(values, times);
    let rows = f64::from(u32::try_from(bars.len()).unwrap_or(u32::MAX));
    let height = 30.0 + rows * ROW + 24.0;
    let place = |value: f64| NAMES + axis.at(value) * (BARS_WIDTH - NAMES - 70.0);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {BARS_WIDTH} {height}\" role=\"img\" aria-label=\"{}\">\n",
        escape(title)
    );
    let mut put = |line: String| writeln!(svg, "{line}").expect("written to memory");
    for (value, label) in axis.ticks() {
        let (x, one) = (place(value), (value - 1.0).abs() < 1e-6);
        let class = if one { "one" } else { "grid" };
        put(format!(
            "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"22\" y2=\"{:.1}\"/>\
             <text class=\"tick\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"14\">{}</text>",
            height - 18.0,
            escape(&label)
        ));
    }
    let mut top = 28.0;
    for bar in bars {
        let (from, to) = (place(bar.value.min(1.0)), place(bar.value.max(1.0)));
        let (class, name, tip) = (bar.class, escape(&bar.name), escape(&bar.tip));
        let base = top + 12.0;
        put(format!(
            "<text class=\"name\" text-anchor=\"end\" x=\"{:.1}\" y=\"{base:.1}\">{name}</text>\
             <g class=\"bar {class}\"><title>{tip}</title><rect x=\"{from:.1}\" y=\"{top:.1}\" \
             width=\"{:.1}\" height=\"{:.1}\" rx=\"2\"/></g>\
             <text class=\"value\" x=\"{:.1}\" y=\"{base:.1}\">{}</text>",
            NAMES - 12.0,
            (to - from).max(1.5),
            ROW - 5.0,
            to + 7.0,
            times(bar.value)
        ));
        top += ROW;
    }
    svg.push_str("</svg>\n");
    svg
}

/// A factor, as people read it.
fn times(value: f64) -> String {
    let digits = if value < 0.1 {
        3
    } else if value < 10.0 {
        2
    } else {
        0
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        let short = text.trim_end_matches('0').trim_end_matches('.');
        return format!("{short}x");
    }
    format!("{text}x")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_reaches_over_all_values_by_steps_of_1_2_5() {
        let axis = Axis::log([130.0, 0.0, 7000.0].into_iter(), times);
        let Axis::Log { low, high, .. } = axis else {
            panic!("{axis:?}");
        };
        assert!((low - 100.0).abs() < 1e-6, "{low}");
        assert!((high - 10_000.0).abs() < 1e-6, "{high}");
        assert!(axis.at(100.0).abs() < 1e-9 && (axis.at(1e9) - 1.0).abs() < 1e-9);
        let labels: Vec<_> = axis.ticks().into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels.len(), 7, "{labels:?}");
    }

    #[test]
    fn nothing_to_show_is_still_an_axis() {
        assert!(Axis::log(std::iter::empty(), times).ticks().len() > 1);
    }

    #[test]
    fn labels_cover_neither_points_nor_each_other() {
        let point = |x: f64| Point {
            x,
            y: 10.0,
            tip: "<tip>".to_owned(),
            label: "label".to_owned(),
        };
        let chart = Lines {
            width: HALF,
            title: "a & b".to_owned(),
            x_name: "x",
            y_name: "y",
            x: Axis::log([1.0, 1000.0].into_iter(), times),
            y: Axis::log([1.0, 100.0].into_iter(), times),
            series: vec![Series {
                class: "durable",
                shape: Some(0),
                dashed: false,
                points: (0..50).map(|_| point(30.0)).collect(),
            }],
        };
        let svg = chart.svg();
        assert!(svg.contains("a &amp; b") && svg.contains("&lt;tip&gt;"));
        assert!(svg.matches(">label<").count() < 10);
    }

    #[test]
    fn factors_are_short() {
        let short = [times(0.05), times(1.0), times(2.5), times(123.4)];
        assert_eq!(short, ["0.05x", "1x", "2.5x", "123x"]);
    }
}
