//! The report as one page: no scripts, nothing fetched, fit to be attached to a ticket.

use crate::clock;
use teal_core::Moment;
use teal_core::report::{Report, ending, short};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b2b2b}\
h1{font-size:1.4rem;margin-bottom:0}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #d5e0e0}td.n,th.n{text-align:right}\
code{font-size:.9em}.completed{color:#0a7a4b}.rolled{color:#a86400}.stuck,.forced{color:#b3261e}svg{width:100%;height:9rem}";

/// The chart's size in its own units.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 120.0;

/// Returns the page.
pub(super) fn page(report: &Report, now: Moment) -> String {
    let (word, class) = match &report.outcome {
        None => ("under way".to_owned(), "running"),
        Some(outcome) => {
            let text = ending(outcome);
            let class = text.split([':', ' ']).next().unwrap_or_default().to_owned();
            (
                text,
                if class == "rolled" {
                    "rolled"
                } else if class == "stuck" {
                    "stuck"
                } else {
                    "completed"
                },
            )
        }
    };
    let from = report.blue.as_ref().map_or("nothing", |blue| blue.as_str());
    let mut body = format!(
        "<h1>{}</h1><p><code>{}</code> → <code>{}</code><br><b class=\"{class}\">{}</b>, after {}</p>",
        escape(report.service.as_str()),
        escape(from),
        escape(report.green.as_str()),
        escape(&word),
        report.took(now),
    );
    body += &capacity(report, now);
    body += &drains(report);
    body += &forced(report);
    body += "<h2>Timeline</h2><table>";
    for line in &report.timeline {
        row(&mut body, &[&clock::time(line.at), &line.what]);
    }
    body += "</table>";
    let title = escape(report.deployment.as_str());
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style>\
         <body>{body}<p><small>{title}, {}</small></p></body></html>\n",
        clock::date_time(report.began)
    )
}

/// The healthy, serving instances over time, as steps, with the floor as a dashed line.
fn capacity(report: &Report, now: Moment) -> String {
    let most = report
        .capacity
        .iter()
        .map(|(_, count)| *count)
        .max()
        .unwrap_or(0)
        .max(1);
    let took = report.took(now).0.max(1);
    let x = |at: Moment| as_float(at.since(report.began).0) / as_float(took) * WIDTH;
    let y = |count: u64| HEIGHT - as_float(count) / as_float(most as u64) * (HEIGHT - 10.0);
    let first = report
        .capacity
        .first()
        .map_or(0, |(_, count)| *count as u64);
    let mut path = format!("M0 {:.1}", y(first));
    for (at, count) in &report.capacity {
        path += &format!(" H{:.1} V{:.1}", x(*at), y(*count as u64));
    }
    path += &format!(" H{WIDTH}");
    let floor = y(u64::from(report.floor));
    let least = report
        .least_capacity
        .map_or_else(|| "-".to_owned(), |least| least.to_string());
    format!(
        "<h2>Healthy and serving</h2><p>never fewer than {least} seen; the floor is {}</p>\
         <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"instances over time\">\
         <path d=\"{path}\" fill=\"none\" stroke=\"#0a7a7a\" stroke-width=\"2\" vector-effect=\"non-scaling-stroke\"/>\
         <path d=\"M0 {floor:.1} H{WIDTH}\" stroke=\"#b3261e\" stroke-dasharray=\"6 6\" vector-effect=\"non-scaling-stroke\"/></svg>",
        report.floor
    )
}

fn drains(report: &Report) -> String {
    if report.drains.is_empty() {
        return String::new();
    }
    let mut html = "<h2>How instances left the pool</h2><table><tr><th>instance<th>colour<th>left at<th>stopped after\
                    <th>most in-flight<th>most pending</tr>"
        .to_owned();
    for drain in &report.drains {
        let stopped = drain
            .stopped
            .map(|at| at.since(drain.withdrawn).to_string());
        row(
            &mut html,
            &[
                &short(&drain.instance),
                &drain.role.to_string(),
                &clock::time(drain.withdrawn),
                stopped.as_deref().unwrap_or("not stopped"),
                &drain.most_in_flight.to_string(),
                &drain.most_pending.to_string(),
            ],
        );
    }
    html + "</table>"
}

fn forced(report: &Report) -> String {
    let mut html = String::new();
    for forced in &report.forced {
        let line = super::forced_sentence(forced);
        html += &format!("<p class=\"forced\">{}</p>", escape(&line));
    }
    html
}

fn row(html: &mut String, cells: &[&str]) {
    html.push_str("<tr>");
    for cell in cells {
        *html += &format!("<td>{}</td>", escape(cell));
    }
    html.push_str("</tr>");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a place on a chart needs no 53 bits"
)]
const fn as_float(number: u64) -> f64 {
    number as f64
}
