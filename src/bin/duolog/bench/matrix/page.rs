//! The page: one file of HTML with its style and its charts inside.
//!
//! It names nothing outside itself, and runs nothing: it can be mailed, kept
//! beside a change, and opened in ten years.

use std::fmt::Write;

use super::chart::{escape, marker};
use super::charts::{self, Key, Section};
use super::words::{number, time};
use super::{Cell, Report};
use crate::topic::durability;
use crate::units;

const STYLE: &str = include_str!("page.css");

/// The whole page.
pub(super) fn write(report: &Report) -> String {
    let mut page = String::with_capacity(256 << 10);
    page.push_str("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.push_str("<title>duolog bench matrix</title>\n");
    writeln!(page, "<style>\n{STYLE}</style>\n</head>\n<body>\n<main>").expect("memory");
    head(&mut page, report);
    tiles(&mut page, report);
    environment(&mut page, report);
    for section in charts::sections(report) {
        draw(&mut page, &section, report);
    }
    table(&mut page, report);
    tickets(&mut page, report);
    foot(&mut page, report);
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn put(page: &mut String, line: &str) {
    page.push_str(line);
    page.push('\n');
}

fn head(page: &mut String, report: &Report) {
    let environment = &report.environment;
    let quick = if report.quick { " (quick)" } else { "" };
    put(
        page,
        &format!("<header><h1>duolog bench matrix{quick}</h1>"),
    );
    put(
        page,
        &format!(
            "<p class=\"sub\">duolog {}, {}, {} on {}; {} cells of {} s, after {} s of warm-up \
             that does not count</p></header>",
            environment.duolog,
            escape(&environment.time),
            escape(&environment.cpu),
            escape(&environment.file_system),
            report.cells.len(),
            report.seconds_each,
            report.warmup_each
        ),
    );
    if environment.build == "debug" {
        put(
            page,
            "<p class=\"warn\">This is a debug build: its figures say nothing about speed. \
             Build with --release.</p>",
        );
    }
    if environment.is_busy() {
        let (load, cores) = (environment.load_average, environment.cores);
        put(
            page,
            &format!(
                "<p class=\"warn\">The machine was busy with other work when this began (load \
                 {load:.1} on {cores} cores): figures are low, and differ from run to run.</p>"
            ),
        );
    }
    if report.quick {
        put(
            page,
            "<p class=\"note\">Quick cells are short: read differences of a factor, not of \
             percents, and take the tails from a full run.</p>",
        );
    }
}

/// What most people come for, in four boxes.
fn tiles(page: &mut String, report: &Report) {
    let durable = || {
        let all = report.cells.iter();
        all.filter(|cell| cell.figures.work.durability == duolog::Durability::Durable)
    };
    let by = |of: fn(&Cell) -> f64| move |a: &&Cell, b: &&Cell| of(a).total_cmp(&of(b));
    put(page, "<section class=\"tiles\">");
    let mut tile = |big: String, what: &str, where_from: &str| {
        put(
            page,
            &format!(
                "<div class=\"tile\"><b>{}</b><span>{}</span><small>{}</small></div>",
                escape(&big),
                escape(what),
                escape(where_from)
            ),
        );
    };
    if let Some(cell) = durable().max_by(by(|cell| cell.figures.messages_per_second)) {
        let rate = number(cell.figures.messages_per_second);
        tile(format!("{rate}/s"), "most durable messages", &cell.name);
    }
    if let Some(cell) = durable().min_by(by(|cell| cell.figures.p99_us)) {
        let p99 = time(cell.figures.p99_us);
        tile(p99, "shortest durable p99", &cell.name);
    }
    let environment = &report.environment;
    tile(
        time(environment.sync_overwrite_us),
        "one write and sync of the bare disk",
        "4 KiB over blocks written before, p50",
    );
    if let Some(cell) = report
        .cells
        .iter()
        .filter(|cell| cell.figures.work.threads > 1)
        .min_by(by(|cell| cell.figures.fairness.min_max_ratio))
    {
        let share = format!("{:.2}", cell.figures.fairness.min_max_ratio);
        tile(
            share,
            "least fair: fewest to most messages of a thread",
            &cell.name,
        );
    }
    put(page, "</section>");
}

fn environment(page: &mut String, report: &Report) {
    let of = &report.environment;
    let back_end = report
        .cells
        .first()
        .map(|cell| cell.figures.back_end.clone());
    let rows = [
        (
            "processor",
            format!("{}, {} cores, {}", of.cpu, of.cores, of.architecture),
        ),
        ("memory", units::size(of.memory_bytes)),
        ("kernel", of.kernel.clone()),
        (
            "file system",
            format!("{} on {} ({})", of.file_system, of.device, of.mount_options),
        ),
        (
            "cost of a sync",
            format!(
                "{} over blocks written before, {} at the end of a growing file",
                time(of.sync_overwrite_us),
                time(of.sync_grow_us)
            ),
        ),
        ("build", format!("duolog {}, {}", of.duolog, of.build)),
        ("back end", back_end.unwrap_or_default()),
        (
            "read back",
            if report.verified {
                "every record of every cell, and held against what was appended".to_owned()
            } else {
                "no (--verify does)".to_owned()
            },
        ),
    ];
    put(
        page,
        "<section><h2>Where it was measured</h2><div class=\"pair\"><dl>",
    );
    let row =
        |name: &str, value: &str| format!("<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
    for (name, value) in &rows {
        put(page, &row(name, value));
    }
    put(page, "</dl><dl>");
    for (name, value) in &report.axes {
        put(page, &row(name, value));
    }
    put(page, "</dl></div></section>");
}

fn draw(page: &mut String, section: &Section, report: &Report) {
    put(
        page,
        &format!("<section><h2>{}</h2>", escape(section.heading)),
    );
    put(page, &format!("<p>{}</p>", escape(&section.sentence)));
    put(page, &legend(report, &section.legend));
    put(page, "<div class=\"charts\">");
    for svg in &section.svgs {
        put(page, &format!("<figure>{svg}</figure>"));
    }
    put(page, "</div></section>");
}

fn legend(report: &Report, keys: &[Key]) -> String {
    let item = |class: &str, shape: &str, text: &str| {
        format!(
            "<li><svg class=\"swatch\" viewBox=\"0 0 16 16\" aria-hidden=\"true\">\
             <g class=\"mark {class}\">{shape}</g></svg>{}</li>",
            escape(text)
        )
    };
    let mut levels = Vec::new();
    for cell in &report.cells {
        let level = durability(cell.figures.work.durability);
        if !levels.contains(&level) {
            levels.push(level);
        }
    }
    let square = "<rect x=\"1\" y=\"5\" width=\"14\" height=\"6\" rx=\"2\"/>";
    let dashes = "<rect x=\"1\" y=\"7\" width=\"6\" height=\"3\"/>\
                  <rect x=\"9\" y=\"7\" width=\"6\" height=\"3\"/>";
    let mut items = Vec::new();
    for key in keys {
        match key {
            Key::Levels => items.extend(levels.iter().map(|level| item(level, square, level))),
            Key::Disk => items.push(item("raw", dashes, "the bare disk")),
            Key::Batches => {
                let batches = charts::batches(&report.cells);
                let shapes = batches.iter().enumerate().map(|(shape, batch)| {
                    item("any", &marker(shape, 8.0, 8.0), &format!("batch {batch}"))
                });
                items.extend(shapes);
            }
        }
    }
    format!("<ul class=\"legend\">{}</ul>", items.join(""))
}

fn table(page: &mut String, report: &Report) {
    const HEADINGS: &[&str] = &[
        "work",
        "messages/s",
        "MiB/s",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "max",
        "syncs/s",
        "messages a sync",
        "write ampl.",
        "CPU us a message",
        "peak memory",
        "fairness",
        "to raw",
    ];
    put(page, "<section><h2>All figures</h2>");
    put(
        page,
        "<p>Write amplification is bytes written to the log and to segments for each byte \
         accepted, the last checkpoint included. Peak memory is that of the whole process, with \
         8 MiB of values to append, the files that are mapped, and what earlier cells left \
         in the allocator: bench append alone tells what one kind of work needs. It begins \
         anew with each cell, or says that the kernel does not let it. Fairness \
         is the messages of the thread with the fewest as a part of those of the thread with \
         the most. Percentiles beyond p99.9, and everything else, are in the JSON.</p>",
    );
    put(page, "<div class=\"scroll\"><table><thead><tr>");
    for heading in HEADINGS {
        put(page, &format!("<th>{heading}</th>"));
    }
    put(page, "</tr></thead><tbody>");
    for cell in &report.cells {
        put(page, &row(cell));
    }
    put(page, "</tbody></table></div></section>");
}

/// The rows with tickets, beside a disk that has several writes to work on.
fn tickets(page: &mut String, report: &Report) {
    if report.tickets.is_empty() {
        return;
    }
    put(page, "<section><h2>With tickets</h2>");
    put(
        page,
        "<p>One thread that does not wait for each append. The disk beside it has as many direct \
         writes under way as the log may have, each of the bytes of one append: what it can do \
         at most, where a plain loop waits for each write.</p>",
    );
    put(page, "<div class=\"scroll\"><table><thead><tr>");
    for heading in [
        "work",
        "messages/s",
        "p99",
        "to raw",
        "deep raw/s",
        "to deep raw",
    ] {
        put(page, &format!("<th>{heading}</th>"));
    }
    put(page, "</tr></thead><tbody>");
    for cell in &report.tickets {
        let of = &cell.figures;
        let deep = of.deep_raw.as_ref();
        let refused = || "refused".to_owned();
        let cells = [
            number(of.messages_per_second),
            time(of.p99_us),
            format!("{:.2}", of.ratio_to_raw),
            deep.map_or_else(refused, |deep| number(deep.messages_per_second)),
            deep.map_or_else(refused, |deep| format!("{:.2}", deep.ratio)),
        ];
        put(page, &line(cell, &cells));
    }
    put(page, "</tbody></table></div></section>");
}

fn row(cell: &Cell) -> String {
    let of = &cell.figures;
    let cells = [
        number(of.messages_per_second),
        format!("{:.1}", of.bytes_per_second / 1_048_576.0),
        time(of.p50_us),
        time(of.p90_us),
        time(of.p99_us),
        time(of.p999_us),
        time(of.max_us),
        number(of.syncs_per_second),
        number(of.records_per_sync),
        format!("{:.2}", of.write_amplification),
        format!("{:.2}", of.cpu_us_per_message),
        of.peak_memory.text(),
        format!("{:.2}", of.fairness.min_max_ratio),
        format!("{:.2}", of.ratio_to_raw),
    ];
    line(cell, &cells)
}

/// A line of a table, under the name of the cell.
fn line(cell: &Cell, cells: &[String]) -> String {
    let cells: Vec<String> = cells
        .iter()
        .map(|cell| format!("<td>{}</td>", escape(cell)))
        .collect();
    let class = durability(cell.figures.work.durability);
    let name = escape(&cell.name);
    format!(
        "<tr><th class=\"{class}\">{name}</th>{}</tr>",
        cells.join("")
    )
}

fn foot(page: &mut String, report: &Report) {
    let text = "Each cell had a new store, which was removed, and the raw loop right before and \
                after it. Disks drift by a factor of two within minutes: compare \
                ratios, and two reports with bench matrix --compare.";
    let version = escape(report.environment.duolog);
    put(
        page,
        &format!("<footer>{text} Written by duolog {version}.</footer>"),
    );
}
