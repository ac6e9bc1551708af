//! What a client said, with everything that differs from run to run made the same.

use std::fmt;

use crate::command::Ran;

/// What stands for every id of a deployment, an instance or a task.
const UUID: &str = "00000000-0000-4000-8000-000000000000";

/// What stands for every time.
const TIME: &str = "2014-03-01T23:29:30.158Z";

/// The exit code, stdout and stderr of a client. Ids and times are as long as before, so that tables keep their shape.
#[derive(Debug)]
pub(crate) struct Told {
    line: String,
    code: Option<i32>,
    stdout: String,
    stderr: String,
    /// The data as it came.
    raw: String,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl Told {
    /// Takes what a client said to the Marathon at this `host:port`.
    pub(crate) fn by(ran: &Ran, marathon: &str) -> Self {
        let plain = |text: &str| {
            let text = text.replace(marathon, "marathon");
            let lines: Vec<String> = text.lines().map(same).collect();
            lines.join("\n")
        };
        Self {
            line: ran.to_string(),
            code: ran.code(),
            stdout: plain(&ran.stdout),
            stderr: plain(&ran.stderr),
            raw: ran.stdout.clone(),
        }
    }

    /// Returns itself if it went well and printed exactly this.
    pub(crate) fn prints(self, stdout: &str) -> Self {
        assert_eq!(self.stdout, stdout.trim_end_matches('\n'), "{self}");
        self.went_well()
    }

    /// Returns itself if it exited with 0 and printed exactly this, whatever it logged.
    pub(crate) fn says_only(self, stdout: &str) -> Self {
        assert_eq!(
            (self.code, self.stdout.as_str()),
            (Some(0), stdout),
            "{self}"
        );
        self
    }

    /// Returns itself if it exited with 0 and said nothing on stderr.
    pub(crate) fn went_well(self) -> Self {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self}");
        self
    }

    /// Returns itself if it failed, saying exactly this on stderr and nothing on stdout.
    pub(crate) fn fails(self, stderr: &str) -> Self {
        let told = (self.code, self.stdout.as_str(), self.stderr.as_str());
        assert_eq!(told, (Some(1), "", stderr), "{self}");
        self
    }

    /// Returns itself if it failed and printed exactly this: some refusals go to stdout.
    pub(crate) fn refuses(self, stdout: &str) -> Self {
        let told = (self.code, self.stdout.as_str(), self.stderr.as_str());
        assert_eq!(told, (Some(1), stdout, ""), "{self}");
        self
    }

    /// Returns the data as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.raw).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// Returns the last word of the data as it came: the id in `Created deployment ID`.
    pub(crate) fn last_word(&self) -> String {
        let word = self.raw.split_whitespace().next_back();
        word.unwrap_or_else(|| panic!("nothing was printed: {self}"))
            .to_owned()
    }

    /// Returns the lines of the data as they came.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.raw.lines().map(str::to_owned).collect()
    }

    /// Tells whether it exited with 0.
    pub(crate) fn is_well(&self) -> bool {
        self.code == Some(0)
    }
}

/// Returns a line with every id and every time replaced, and without spaces at its end.
fn same(line: &str) -> String {
    let mut rest = line.trim_end();
    let mut text = String::new();
    while let Some(first) = rest.chars().next() {
        let stand_in = [UUID, TIME].into_iter().find(|form| has_form(rest, form));
        let taken = stand_in.map_or(first.len_utf8(), str::len);
        text.push_str(stand_in.unwrap_or(&rest[..taken]));
        rest = &rest[taken..];
    }
    text
}

/// Tells whether a text begins like this form: a digit stands for any hexadecimal one, other characters for themselves.
fn has_form(text: &str, form: &str) -> bool {
    let mut letters = text.chars();
    form.chars().all(|wanted| {
        letters.next().is_some_and(|letter| {
            letter == wanted || (wanted.is_ascii_digit() && letter.is_ascii_hexdigit())
        })
    })
}

#[test]
fn ids_and_times_are_replaced_and_nothing_else_is() {
    assert_eq!(
        same(
            "a.instance-f132a698-ca79-443f-8043-7c701d0ce124._app.1  2026-11-23T03:08:02.499Z  31085 "
        ),
        format!("a.instance-{UUID}._app.1  {TIME}  31085")
    );
}
