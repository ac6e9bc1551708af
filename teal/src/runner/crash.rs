//! The crash test: whenever a deployer dies, the next one ends the deployment as if it had not (P6).
//!
//! Each [`scenario`] is played once without a death. Then again for every entry of its journal, and the deployer is
//! killed once that entry is on disk, once the action that it announces is done, and while it is being written; and
//! killed twice. Each time `teal resume` goes on, and the end must be the same. The runner, the journal file and the
//! store are the real ones; the world is the one in memory, and time is tokio's, paused. See [`death`] for how exact a
//! death is, [`stage`] for what is compared.
//!
//! Every action is also carried out twice in a row. That one comes again *later*, with another in between, is not
//! played: actions say how things shall be ("3 instances", "this one serves"), so an older one that comes after a newer
//! one undoes it, and no driver could tell. What the runner owes instead is one action at a time, and that it looks
//! again after each.
//!
//! `TEAL_CRASH=rollback cargo test -p teal crash -- --nocapture` plays the scenarios that are called so.

mod death;
mod scenario;
mod stage;

use super::*;
use death::{Death, Times};
use scenario::{Scenario, scenarios};
use stage::{Course, Ending, Heard, play};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Failures that are told in full.
const TOLD: usize = 3;

#[test]
fn wherever_a_deployer_dies_the_next_one_ends_the_deployment_as_if_it_had_not() {
    let began = Instant::now();
    let only = std::env::var("TEAL_CRASH").ok();
    let all = scenarios().into_iter();
    let all: Vec<Scenario> = all
        .filter(|one| only.as_ref().is_none_or(|only| one.name.contains(only)))
        .collect();
    let calm: Vec<Calm> = all.iter().map(Calm::of).collect();
    let jobs: Vec<(&Calm, Course)> = calm
        .iter()
        .flat_map(|calm| calm.courses().into_iter().map(move |course| (calm, course)))
        .collect();

    let results = in_parallel(&jobs);

    let failures: Vec<&String> = results.iter().filter_map(|it| it.as_ref().err()).collect();
    println!("{}", figures(&calm, &jobs, &results, began));
    let shown: Vec<&str> = failures
        .iter()
        .take(TOLD)
        .map(|story| story.as_str())
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {} plays ended otherwise; the first of them:\n\n{}",
        failures.len(),
        jobs.len(),
        shown.join("\n\n")
    );
}

/// How the second deployer dies when the first died at an entry: when it has said that it goes on, what it was asked,
/// what it sees at first, or later what it does.
fn again(at: u64) -> [Death; 2] {
    match at % 3 {
        0 => [Death::Written(1), Death::Written(5)],
        1 => [Death::Written(2), Death::Torn(4)],
        _ => [Death::Written(3), Death::Done(4 + at % 4)],
    }
}

/// A scenario, and how it went with no death.
struct Calm<'a> {
    scenario: &'a Scenario,
    entries: Vec<Entry>,
    ending: Ending,
}

impl<'a> Calm<'a> {
    fn of(scenario: &'a Scenario) -> Self {
        let heard = Heard::default();
        let course = Course {
            deaths: Vec::new(),
            times: Times::Once,
        };
        let played = play(scenario, &course, &heard);
        let entries = heard.lock().unwrap().clone();
        let story = || {
            format!(
                "{}, with no death: {:#?}\n{}",
                scenario.name,
                played.ending,
                journal(&entries)
            )
        };
        assert_eq!(played.ending.kind(), Some(scenario.end), "{}", story());
        assert_eq!(played.deeds_left, 0, "everything was done: {}", story());
        assert_eq!(played.ending.below_floor, 0, "P1: {}", story());
        // Of the scenarios, the forced ones do harm, and they do.
        let is_forced = scenario.name.contains("force");
        assert_eq!(played.ending.harm.is_empty(), !is_forced, "P2: {}", story());
        Self {
            scenario,
            entries,
            ending: played.ending,
        }
    }

    /// Everything that may befall the deployers.
    fn courses(&self) -> Vec<Course> {
        let mut courses = Vec::new();
        let mut add = |deaths: &[Death], times| {
            courses.push(Course {
                deaths: deaths.to_vec(),
                times,
            });
        };
        add(&[], Times::TwiceFirstAnswer);
        add(&[], Times::TwiceSecondAnswer);
        let last = self.entries.len() as u64;
        for entry in &self.entries {
            let at = entry.seq;
            add(&[Death::Written(at)], Times::Once);
            if matches!(
                &entry.event,
                Event::Intended {
                    action: Action::Instance(_) | Action::Pool(_)
                }
            ) {
                add(&[Death::Done(at)], Times::Once);
            }
            // The first line is the plan: a journal without it is none, and nothing was done.
            if at > 1 {
                add(&[Death::Torn(at)], Times::Once);
            }
            if at < last {
                for second in again(at) {
                    add(&[Death::Written(at), second], Times::Once);
                }
            }
        }
        courses
    }

    /// Plays a course and compares. Returns how many died, or the story of another end.
    fn compare(&self, course: &Course) -> Result<usize, String> {
        let heard = Heard::default();
        let played = catch_unwind(AssertUnwindSafe(|| play(self.scenario, course, &heard)));
        let least = course.deaths.len().min(1);
        let (what, deaths) = match &played {
            Ok(play) if play.ending == self.ending && play.deaths >= least => {
                return Ok(play.deaths);
            }
            Ok(play) => (
                format!(
                    "undisturbed it ends {:#?}\nand now {:#?}",
                    self.ending, play.ending
                ),
                play.deaths,
            ),
            Err(panic) => (format!("panic: {}", text(panic.as_ref())), 0),
        };
        let heard = heard.lock().unwrap_or_else(|broken| broken.into_inner());
        Err(format!(
            "## {}: {}\n{what}\nafter {deaths} deaths the journal is\n{}",
            self.scenario.name,
            self.told(course),
            journal(&heard)
        ))
    }

    fn told(&self, course: &Course) -> String {
        let Some(Death::Written(at) | Death::Done(at) | Death::Torn(at)) = course.deaths.first()
        else {
            return format!("every action {:?}", course.times);
        };
        let entry = usize::try_from(*at)
            .ok()
            .and_then(|at| self.entries.get(at - 1));
        let entry = entry.map(|entry| told(&entry.event)).unwrap_or_default();
        format!(
            "deaths {:?}, the first at entry {at}: {entry}",
            course.deaths
        )
    }
}

type Compared = Result<usize, String>;

fn in_parallel(jobs: &[(&Calm<'_>, Course)]) -> Vec<Compared> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let index = next.fetch_add(1, Ordering::SeqCst)
                    && let Some((calm, course)) = jobs.get(index)
                {
                    let compared = calm.compare(course);
                    done.lock().unwrap().push((index, compared));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, compared)| compared).collect()
}

fn figures(
    calm: &[Calm<'_>],
    jobs: &[(&Calm<'_>, Course)],
    results: &[Compared],
    began: Instant,
) -> String {
    let count = |test: &dyn Fn(&Course) -> bool| jobs.iter().filter(|(_, it)| test(it)).count();
    let first = |test: fn(&Death) -> bool| {
        count(&|course| course.deaths.len() == 1 && course.deaths.iter().all(test))
    };
    let crashes: usize = results.iter().filter_map(|it| it.as_ref().ok()).sum();
    format!(
        "figures: {} scenarios, {} entries, {crashes} crashes in {} plays ({} between entries, {} between an action and \
         its result, {} inside an entry, cut at three places, {} twice), {} plays with every action twice, {} ended otherwise, {:.1} s",
        calm.len(),
        calm.iter().map(|calm| calm.entries.len()).sum::<usize>(),
        jobs.len(),
        first(|death| matches!(death, Death::Written(_))),
        first(|death| matches!(death, Death::Done(_))),
        first(|death| matches!(death, Death::Torn(_))),
        results.iter().filter(|it| **it == Ok(2)).count(),
        count(&|course| course.times != Times::Once),
        results.iter().filter(|it| it.is_err()).count(),
        began.elapsed().as_secs_f64(),
    )
}

fn text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "without a text".to_owned())
}

fn journal(entries: &[Entry]) -> String {
    let begin = entries.first().map_or(Moment(0), |entry| entry.at);
    let lines = entries.iter().map(|entry| {
        let after = entry.at.since(begin);
        format!("{:>4} {after:>10} {}", entry.seq, told(&entry.event))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn told(event: &Event) -> String {
    match event {
        Event::Begun { .. } => "begun".to_owned(),
        Event::Intended { action } => format!("→ {}", action.key()),
        Event::Performed { intent } => format!("done {intent}"),
        Event::Failed { intent, reason, .. } => format!("failed {intent}: {reason}"),
        Event::Asked { command, .. } => format!("asked: {command:?}"),
        Event::Seen { picture } => format!("sees {} serve", picture.capacity),
        Event::Resumed { by } => format!("resumed by {by}"),
        Event::Ended { outcome } => format!("ended: {outcome:?}"),
    }
}
