//! Pages of gauges, good and bad.

use super::*;
use proptest::prelude::*;

const PAGE: &str = r#"# HELP queue_length How many jobs wait.
# TYPE queue_length gauge
queue_length{queue="db",kind="slow"} 2
queue_length{queue="db",kind="fast"} 0.25 1395066363000
queue_length{queue="mail"} 0

# a comment
	 spaced 	 7
# TYPE requests counter
requests{path="/a \"b\" \\ c\nd",} 9
http_seconds_bucket{le="+Inf"} 3
http_seconds_sum NaN
empty{} 0
next_to_nothing 1e-400
"#;

#[test]
fn matching_series_are_added_up_and_rounded_up() {
    for (gauge, count) in [
        ("queue_length", 3),
        (r#"queue_length{queue="db"}"#, 3),
        (r#"queue_length{queue="db",kind="slow"}"#, 2),
        (r#"queue_length{ kind = "fast" }"#, 1),
        (r#"queue_length{queue="mail"}"#, 0),
        (r#"queue_length{kind=""}"#, 0),
        ("spaced", 7),
        ("empty", 0),
        ("next_to_nothing", 1),
    ] {
        assert_eq!(prometheus(PAGE, gauge), Pending::Count(count), "{gauge}");
    }
}

#[test]
fn what_is_not_said_is_unknown_with_a_reason() {
    for (gauge, reason) in [
        ("queue", "is not on the page"),
        ("queue_length_total", "is not on the page"),
        (r#"queue_length{queue="other"}"#, "is not on the page"),
        ("requests", "is declared as a counter"),
        ("http_seconds_sum", "NaN"),
        ("queue_length{", "is not a gauge's name"),
        (r#"queue_length{queue=~"d."}"#, "is not a gauge's name"),
        ("queue_length 0", "is not a gauge's name"),
        ("", "is not a gauge's name"),
    ] {
        let Pending::Unknown(why) = prometheus(PAGE, gauge) else {
            panic!("{gauge} was read")
        };
        assert!(why.contains(reason), "{gauge}: {why}");
    }
}

#[test]
fn a_page_with_a_line_that_is_wrong_says_nothing() {
    for page in [
        "pending",
        "pending ",
        "pending{a=\"b\"",
        "pending{a=\"b\n\"} 0",
        "pending{a=b} 0",
        "pending{a=\"b\" c=\"d\"} 0",
        "pending{a=\"b\",a=\"b\"} 0",
        "pending-0",
        "pending 0 x",
        "pending 0 1 2",
        "pending 0,0",
        "pending 0\nother 1 2 3",
        "pending 0\n<html>",
        "pending 0\n0",
        "pending +Inf",
        "pending -1",
        "pending 0x0",
        "pending 0\npending NaN",
        "# TYPE pending gauge\n# TYPE pending untyped\npending 0",
        "# TYPE pending histogram\npending 0",
        "# TYPE pending\npending 0",
        "",
        "\n\n",
        "# pending 0",
    ] {
        let read = prometheus(page, "pending");
        assert!(matches!(read, Pending::Unknown(_)), "{page:?}: {read:?}");
    }
}

#[test]
fn the_forms_that_exporters_write_are_read() {
    for page in [
        "pending 0",
        "pending 0\n",
        "pending 0\r\n",
        "pending\t0\t1395066363000",
        "pending{} 0",
        "pending {a=\"b\"} 0",
        "pending{a=\"b\"}0",
        "pending{a=\"{}\"} 0.0",
        "# TYPE pending gauge\n# TYPE pending gauge\npending 0",
        "# TYPE pending untyped\npending -0",
        "pending 0 # {trace=\"x\"} 1\n# EOF\n",
        "{\"pending\",a=\"b\"} 0",
        "other 0x1p3\npending 0",
    ] {
        assert_eq!(prometheus(page, "pending"), Pending::Count(0), "{page:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_reads_as_zero_without_a_line_that_says_zero(
        lines in proptest::collection::vec(
            prop_oneof![
                "[ -~]{0,20}",
                "pending[ -~]{0,10}",
                "pending(\\{[a-b]=\"[a-b]\"\\})? [-+]?[0-9.]{1,4}(e-?[0-9]{1,3})?( [0-9]{1,3})?",
                "# TYPE pending (gauge|counter)",
            ],
            0..5,
        ),
    ) {
        let page = lines.join("\n");

        if prometheus(&page, "pending") == Pending::Count(0) {
            let says_zero = |line: &str| {
                line.trim_start().starts_with("pending")
                    && line.split([' ', '\t', '}']).any(|word| word.parse() == Ok(0.0))
            };
            prop_assert!(page.split('\n').any(says_zero), "{page:?}");
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let page = String::from_utf8_lossy(&bytes);

        let read = prometheus(&page, "pending");

        prop_assert!(matches!(read, Pending::Unknown(_)) || page.contains("pending"), "{read:?}");
    }

    #[test]
    fn a_count_reads_back_between_other_lines(count in any::<u32>(), label in "[^\n]{0,10}") {
        let label = label.replace('\\', "\\\\").replace('"', "\\\"");
        let page = format!("other{{a=\"{label}\"}} 0\npending{{a=\"{label}\"}} {count}\n");

        prop_assert_eq!(prometheus(&page, "pending"), Pending::Count(u64::from(count)));
    }
}
