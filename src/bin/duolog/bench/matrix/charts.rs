//! The charts of a matrix: which figures go where, and how to read them.

use std::time::Duration;

use duolog::Durability;

use super::chart::{Axis, Bar, HALF, Lines, NARROW, Point, Series, WHOLE, bars};
use super::words::{number, percent, threads_name, time};
use super::{Cell, Offer, Report};
use crate::bench::figures::Figures;
use crate::bench::load::Work;
use crate::topic::durability;
use crate::units;

/// Charts under one heading.
pub(super) struct Section {
    pub(super) heading: &'static str,
    /// How to read it.
    pub(super) sentence: String,
    pub(super) svgs: Vec<String>,
    /// What colors and shapes stand for.
    pub(super) legend: Vec<Key>,
}

/// What a legend tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Colors of durability.
    Levels,
    /// Shapes of batches.
    Batches,
    /// The dashed line of the disk.
    Disk,
}

/// All charts that there is something to show in.
pub(super) fn sections(report: &Report) -> Vec<Section> {
    let facets = facets(&report.cells);
    let sections = vec![
        latency_by_throughput(&facets),
        offered(&report.offers),
        percentiles(&facets),
        messages_per_sync(&facets),
        to_raw(&report.cells),
        along_other_axes(&report.cells),
    ];
    let filled = |section: &Section| !section.svgs.is_empty();
    sections.into_iter().filter(filled).collect()
}

/// Cells of one size and compression: what fits into one chart.
struct Facet<'a> {
    name: String,
    cells: Vec<&'a Cell>,
    /// All batches of the matrix; the place in it decides the shape.
    batches: Vec<u32>,
    /// The first linger of the matrix; lines of others are dashed.
    linger: Duration,
    /// Of a chart, so that all of a section fill the page.
    width: f64,
}

/// Sizes and compressions with more than one batch or number of threads.
fn facets(cells_of_all: &[Cell]) -> Vec<Facet<'_>> {
    let mut keys: Vec<(u32, bool)> = Vec::new();
    for cell in cells_of_all {
        let key = (cell.work().size, cell.work().compress);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let facet = |(size, compress): (u32, bool)| {
        let mine = |cell: &&Cell| (cell.work().size, cell.work().compress) == (size, compress);
        let cells: Vec<&Cell> = cells_of_all.iter().filter(mine).collect();
        let codec = if compress { ", lz4" } else { "" };
        Facet {
            name: format!("records of {}{codec}", units::size(u64::from(size))),
            cells,
            batches: batches(cells_of_all),
            linger: first_linger(cells_of_all),
            width: HALF,
        }
    };
    let all = keys.into_iter().map(facet);
    let lines = |facet: &Facet<'_>| {
        let first = facet.cells.first().map(|cell| calls(cell.work()));
        let others = facet.cells.iter().map(|cell| calls(cell.work()));
        others.into_iter().any(|other| Some(other) != first)
    };
    let mut found: Vec<Facet<'_>> = all.collect();
    if found.iter().any(lines) {
        found.retain(lines);
    }
    if let [only] = found.as_mut_slice() {
        only.width = WHOLE;
    }
    found
}

fn first_linger(cells: &[Cell]) -> Duration {
    let mut buffered = cells.iter().map(Cell::work);
    let first = buffered.find(|work| work.durability == Durability::Buffered);
    first.map(Work::linger).unwrap_or_default()
}

fn calls(work: &Work) -> (u32, u32) {
    (work.batch, work.threads)
}

impl Cell {
    fn work(&self) -> &Work {
        &self.figures.work
    }
}

/// Cells that differ in their threads alone, as one line each.
fn by_threads<'a>(facet: &Facet<'a>) -> Vec<Vec<&'a Cell>> {
    let mut lines: Vec<Vec<&Cell>> = Vec::new();
    let key = |cell: &Cell| {
        let work = cell.work();
        (work.durability, work.batch, work.linger())
    };
    for cell in &facet.cells {
        let same = lines
            .iter_mut()
            .find(|line| line.first().is_some_and(|first| key(first) == key(cell)));
        match same {
            Some(line) => line.push(cell),
            None => lines.push(vec![cell]),
        }
    }
    // A cell aside from the cross is no line: the bars have it.
    if lines.iter().any(|line| line.len() > 1) {
        lines.retain(|line| line.len() > 1);
    }
    lines
}

/// The batches of the matrix, in order.
pub(super) fn batches(cells: &[Cell]) -> Vec<u32> {
    let mut found: Vec<u32> = cells.iter().map(|cell| cell.work().batch).collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn shape(facet: &Facet<'_>, batch: u32) -> Option<usize> {
    facet.batches.iter().position(|other| *other == batch)
}

fn dashed(facet: &Facet<'_>, work: &Work) -> bool {
    work.durability == Durability::Buffered && work.linger() != facet.linger
}

fn latency_by_throughput(facets: &[Facet<'_>]) -> Section {
    let chart = |facet: &Facet<'_>| {
        let cells = || facet.cells.iter().map(|cell| &cell.figures);
        let point = |cell: &&Cell| Point {
            x: cell.figures.messages_per_second,
            y: cell.figures.p99_us,
            tip: tip(&cell.name, &cell.figures),
            label: cell.work().threads.to_string(),
        };
        let series = by_threads(facet).into_iter().filter_map(|line| {
            let work = line.first()?.work();
            Some(Series {
                class: durability(work.durability),
                shape: shape(facet, work.batch),
                dashed: dashed(facet, work),
                points: line.iter().map(point).collect(),
            })
        });
        Lines {
            width: facet.width,
            title: facet.name.clone(),
            x_name: "messages a second",
            y_name: "p99 latency of a call",
            x: Axis::log(cells().map(|f| f.messages_per_second), number),
            y: Axis::log(cells().map(|f| f.p99_us), time),
            series: series.collect(),
        }
        .svg()
    };
    Section {
        heading: "Latency against throughput",
        sentence: "Further right is more messages a second, lower is a shorter wait; the number \
                   beside a point is its threads. A line that goes right without going up scales; \
                   one that only goes up has reached its limit. Both axes are logarithmic. \
                   Dashed is another linger than the first."
            .to_owned(),
        svgs: facets.iter().map(chart).collect(),
        legend: vec![Key::Levels, Key::Batches],
    }
}

fn offered(offers: &[Offer]) -> Section {
    let levels = [
        Durability::Durable,
        Durability::Buffered,
        Durability::Transient,
    ];
    let mut percents: Vec<String> = Vec::new();
    for offer in offers {
        let percent = offer.percent.to_string();
        if !percents.contains(&percent) {
            percents.push(percent);
        }
    }
    let charts = levels.iter().map(|level| {
        let mine = |offer: &&Offer| offer.figures.work.durability == *level;
        offers.iter().filter(mine).collect::<Vec<_>>()
    });
    Section {
        heading: "Latency under a given load",
        sentence: format!(
            "Calls come on a timetable here, as from producers that do not wait for each other, \
             and a latency counts from when the call was due: a stall shows in every call that it \
             held up. From left to right {} percent of the highest rate above. Flat is room to \
             spare; the knee is where to stop.",
            percents.join(", ")
        ),
        svgs: charts.filter_map(|mine| offered_chart(&mine)).collect(),
        legend: vec![Key::Levels],
    }
}

/// The chart of one durability; none if it was not offered anything.
fn offered_chart(mine: &[&Offer]) -> Option<String> {
    let work = &mine.first()?.figures.work;
    let level = durability(work.durability);
    let last = mine.last()?.percent;
    let asked = |offer: &Offer| offer.figures.work.rate.unwrap_or(0.0);
    let line = |of: fn(&Figures) -> f64, name: &str, shape: usize, dashed: bool| {
        let point = |offer: &&Offer| {
            let rate = format!("offered {}/s", number(asked(offer)));
            Point {
                x: asked(offer),
                y: of(&offer.figures),
                tip: format!(
                    "{name}, {}% of the highest rate\n{}",
                    offer.percent,
                    tip(&rate, &offer.figures)
                ),
                label: name.to_owned().repeat(usize::from(offer.percent == last)),
            }
        };
        Series {
            class: level,
            shape: Some(shape),
            dashed,
            points: mine.iter().map(point).collect(),
        }
    };
    let all = mine.iter().map(|offer| &offer.figures);
    let chart = Lines {
        width: NARROW,
        title: format!(
            "{level}, batch {}, {}",
            work.batch,
            threads_name(work.threads)
        ),
        x_name: "messages a second offered",
        y_name: "latency from when a call was due",
        x: Axis::log(mine.iter().map(|offer| asked(offer)), number),
        y: Axis::log(all.flat_map(|f| [f.p50_us, f.p99_us, f.p999_us]), time),
        series: vec![
            line(|f| f.p999_us, "p99.9", 2, true),
            line(|f| f.p99_us, "p99", 1, false),
            line(|f| f.p50_us, "p50", 0, true),
        ],
    };
    Some(chart.svg())
}

/// Where a quantile stands: the nines are as far from each other.
fn nines(quantile: f64) -> f64 {
    (1.0 / (1.0 - quantile.min(0.999_99))).log10()
}

fn percentiles(facets: &[Facet<'_>]) -> Section {
    let mut svgs = Vec::new();
    for facet in facets.iter().take(1) {
        let mut seen: Vec<u32> = facet.cells.iter().map(|cell| cell.work().threads).collect();
        seen.sort_unstable();
        seen.dedup();
        let ends = [seen.first().copied(), seen.last().copied()];
        let one = seen.len() == 1;
        let threads = ends.into_iter().flatten().take(if one { 1 } else { 2 });
        svgs.extend(threads.map(|threads| percentile_chart(facet, threads)));
    }
    Section {
        heading: "Percentiles",
        sentence: "How long the slowest of ten, a hundred, a thousand calls took, up to where at \
                   least ten calls lie beyond. Dashed grey is the bare disk: one durable write at \
                   a time, of the smallest batch. Flat is even; a step is a stall that so \
                   many calls meet."
            .to_owned(),
        svgs,
        legend: vec![Key::Levels, Key::Batches, Key::Disk],
    }
}

fn percentile_chart(facet: &Facet<'_>, threads: u32) -> String {
    let mine = |cell: &&&Cell| cell.work().threads == threads;
    let cells: Vec<&&Cell> = facet.cells.iter().filter(mine).collect();
    let curve = |name: &str, points: &[(f64, f64)]| -> Vec<Point> {
        let shown = points.iter().filter(|(_, us)| *us > 0.0);
        shown
            .map(|(quantile, us)| Point {
                x: nines(*quantile),
                y: *us,
                tip: format!("{name}\np{}: {}", percent(*quantile), time(*us)),
                label: String::new(),
            })
            .collect()
    };
    let mut series = Vec::new();
    for cell in &cells {
        let figures = &cell.figures;
        series.push(Series {
            class: durability(cell.work().durability),
            shape: shape(facet, cell.work().batch),
            dashed: dashed(facet, cell.work()),
            points: curve(&cell.name, &figures.solid_curve()),
        });
    }
    // One of the bare disk is enough: that of the smallest durable append.
    let durable = cells
        .iter()
        .filter(|cell| cell.work().durability == Durability::Durable);
    if let Some(cell) = durable.min_by_key(|cell| cell.work().batch) {
        let raw = &cell.figures.raw_latency_curve_us;
        let whole: Vec<_> = raw.iter().copied().filter(|(q, _)| *q <= 0.99).collect();
        series.push(Series {
            class: "raw",
            shape: None,
            dashed: true,
            points: curve("the bare disk, one write and sync at a time", &whole),
        });
    }
    let names = [
        (0.0, "min"),
        (0.5, "p50"),
        (0.9, "p90"),
        (0.99, "p99"),
        (0.999, "p99.9"),
        (0.9999, "p99.99"),
    ];
    let all = || series.iter().flat_map(|series| &series.points);
    let high = all().map(|point| point.x).fold(nines(0.99), f64::max);
    let names = names
        .iter()
        .map(|(q, name)| (nines(*q), (*name).to_owned()));
    Lines {
        width: HALF,
        title: format!("{}, {}", facet.name, threads_name(threads)),
        x_name: "share of calls that took at most this long",
        y_name: "latency of a call",
        x: Axis::Named {
            low: 0.0,
            high: high * 1.02,
            names: names.filter(|(at, _)| *at <= high * 1.01).collect(),
        },
        y: Axis::log(all().map(|point| point.y), time),
        series,
    }
    .svg()
}

fn messages_per_sync(facets: &[Facet<'_>]) -> Section {
    let chart = |facet: &Facet<'_>| {
        let durable = |line: &Vec<&Cell>| {
            let level = line.first().map(|cell| cell.work().durability);
            level == Some(Durability::Durable)
        };
        let lines: Vec<_> = by_threads(facet).into_iter().filter(durable).collect();
        let mut threads: Vec<u32> = lines
            .iter()
            .flatten()
            .map(|cell| cell.work().threads)
            .collect();
        threads.sort_unstable();
        threads.dedup();
        let place = |n: u32| threads.iter().position(|other| *other == n).unwrap_or(0);
        let x = |n: u32| f64::from(u32::try_from(place(n)).unwrap_or(0));
        let point = |cell: &&Cell| Point {
            x: x(cell.work().threads),
            y: cell.figures.records_per_sync,
            tip: tip(&cell.name, &cell.figures),
            label: number(cell.figures.records_per_sync),
        };
        let series: Vec<Series> = lines
            .iter()
            .filter_map(|line| {
                Some(Series {
                    class: "durable",
                    shape: shape(facet, line.first()?.work().batch),
                    dashed: false,
                    points: line.iter().map(point).collect(),
                })
            })
            .collect();
        let all = lines.iter().flatten();
        (!lines.is_empty()).then(|| {
            Lines {
                width: facet.width,
                title: format!("durable, {}", facet.name),
                x_name: "threads that append",
                y_name: "messages a sync",
                x: Axis::row(threads.iter().map(ToString::to_string).collect()),
                y: Axis::log(all.map(|cell| cell.figures.records_per_sync), number),
                series,
            }
            .svg()
        })
    };
    Section {
        heading: "Messages a sync",
        sentence: "Threads that wait at the same time share a sync: the more messages in one, the \
                   less each pays for the disk. Without sharing a point would be as high as its \
                   batch, with all threads in each sync as high as batch times threads."
            .to_owned(),
        svgs: facets.iter().filter_map(chart).collect(),
        legend: vec![Key::Batches],
    }
}

fn to_raw(cells: &[Cell]) -> Section {
    let bar = |cell: &Cell| Bar {
        name: cell.name.clone(),
        value: cell.figures.ratio_to_raw,
        class: durability(cell.work().durability),
        tip: format!(
            "{}\nraw: {}/s ({})",
            tip(&cell.name, &cell.figures),
            number(cell.figures.raw_messages_per_second),
            cell.figures.raw
        ),
    };
    let shown: Vec<Bar> = cells.iter().map(bar).collect();
    let svgs = if shown.is_empty() {
        vec![]
    } else {
        vec![bars("Throughput as a multiple of the bare disk", &shown)]
    };
    Section {
        heading: "Against the bare disk",
        sentence: "Throughput as a multiple of a plain loop in the same run, one thread that \
                   writes the same bytes over blocks that were written before, and syncs each \
                   write if appends are durable. At 1 the engine costs nothing; above 1 threads \
                   share a sync. Only durable work is bound by the disk: for the others the loop \
                   is a copy to the page cache, and no record in it can be told from the next."
            .to_owned(),
        svgs,
        legend: vec![Key::Levels],
    }
}

/// Cells that differ from the first of their kind in one other axis.
fn along_other_axes(cells: &[Cell]) -> Section {
    let aside = |work: &Work| (work.size, work.compress, work.linger());
    let kind = |work: &Work| (work.durability, work.batch, work.threads);
    let mut shown = Vec::new();
    for cell in cells {
        let same = |other: &&Cell| kind(other.work()) == kind(cell.work());
        let Some(base) = cells.iter().find(same) else {
            continue;
        };
        let (own, first) = (aside(cell.work()), aside(base.work()));
        let others = [own.0 != first.0, own.1 != first.1, own.2 != first.2];
        if others.into_iter().filter(|other| *other).count() != 1 {
            continue;
        }
        // Bytes where the size changes: messages would only show the size.
        let value = cell.figures.bytes_per_second / base.figures.bytes_per_second.max(1.0);
        shown.push(Bar {
            name: cell.name.clone(),
            value,
            class: durability(cell.work().durability),
            tip: format!(
                "{}\nheld against {}",
                tip(&cell.name, &cell.figures),
                base.name
            ),
        });
    }
    let svgs = if shown.is_empty() {
        vec![]
    } else {
        vec![bars("Bytes a second as a multiple of the base", &shown)]
    };
    Section {
        heading: "Size, compression and linger",
        sentence: "Payload bytes a second as a multiple of the same work with the first size, \
                   without compression and with the first linger. lz4 counts the bytes before \
                   compression."
            .to_owned(),
        svgs,
        legend: vec![Key::Levels],
    }
}

/// What a point is, in some lines.
fn tip(name: &str, figures: &Figures) -> String {
    format!(
        "{name}\n{} messages/s, {:.1} MiB/s\np50 {}, p99 {}, p99.9 {}, max {}\n\
         {} messages a sync, {}/s syncs\nfairness {:.2}, ratio to raw {:.2}",
        number(figures.messages_per_second),
        figures.bytes_per_second / 1_048_576.0,
        time(figures.p50_us),
        time(figures.p99_us),
        time(figures.p999_us),
        time(figures.max_us),
        number(figures.records_per_sync),
        number(figures.syncs_per_second),
        figures.fairness.min_max_ratio,
        figures.ratio_to_raw,
    )
}
