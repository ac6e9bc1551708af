//! A gauge as a number in a JSON document, found by a JSON pointer (RFC 6901).
//!
//! The document is read as it is written, token by token: through a float, `1e-400` would become zero.

use super::amount::Amount;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use teal_core::observation::Pending;

/// Returns the number that `pointer` leads to in a JSON document.
#[must_use]
pub fn json_pointer(text: &str, pointer: &str) -> Pending {
    match find(text, pointer).and_then(|token| count(token, pointer)) {
        Ok(amount) => Pending::Count(amount.rounded_up()),
        Err(reason) => Pending::Unknown(reason),
    }
}

fn count(token: &str, pointer: &str) -> Result<Amount, String> {
    match token.as_bytes().first() {
        Some(b'-' | b'0'..=b'9') => Amount::parse(token),
        Some(_) | None => Err(format!("what stands at `{pointer}` is not a number")),
    }
}

/// Returns the text of the value that the pointer leads to.
fn find<'a>(text: &'a str, pointer: &str) -> Result<&'a str, String> {
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err(format!(
            "`{pointer}` is not a JSON pointer: it does not begin with a slash"
        ));
    }
    let whole: &RawValue =
        serde_json::from_str(text).map_err(|error| format!("the page is not JSON: {error}"))?;
    let mut value = whole;
    for token in pointer.split('/').skip(1) {
        let name = token.replace("~1", "/").replace("~0", "~");
        value = step(value, &name)
            .ok_or_else(|| format!("nothing stands at `{pointer}` of the page"))?;
    }
    Ok(value.get())
}

fn step<'a>(value: &'a RawValue, name: &str) -> Option<&'a RawValue> {
    if let Ok(fields) = serde_json::from_str::<BTreeMap<String, &RawValue>>(value.get()) {
        return fields.get(name).copied();
    }
    let items: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
    let canonical = name == "0" || !name.starts_with(['0', '+']);
    let index: usize = canonical.then(|| name.parse().ok()).flatten()?;
    items.get(index).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pointer_leads_to_a_number() {
        let page = r#"{"pending":{"operations":3,"a/b":1.5,"m~n":0},"list":[0,7],"none":0}"#;
        for (pointer, count) in [
            ("/pending/operations", 3),
            ("/pending/a~1b", 2),
            ("/pending/m~0n", 0),
            ("/list/1", 7),
            ("/list/0", 0),
            ("/none", 0),
        ] {
            assert_eq!(
                json_pointer(page, pointer),
                Pending::Count(count),
                "{pointer}"
            );
        }
        assert_eq!(json_pointer(" 4 ", ""), Pending::Count(4));
        assert_eq!(json_pointer(r#"{"":{"":9}}"#, "//"), Pending::Count(9));
    }

    #[test]
    fn what_is_not_a_number_there_is_unknown() {
        for (page, pointer) in [
            ("{}", "/pending"),
            (r#"{"pending":"0"}"#, "/pending"),
            (r#"{"pending":null}"#, "/pending"),
            (r#"{"pending":false}"#, "/pending"),
            (r#"{"pending":[]}"#, "/pending"),
            (r#"{"pending":-1}"#, "/pending"),
            (r#"{"pending":0}"#, "pending"),
            (r#"{"pending":0"#, "/pending"),
            (r#"{"pending":0}}"#, "/pending"),
            ("[0]", "/00"),
            ("[0]", "/-"),
            ("[0]", "/1"),
            ("", ""),
            ("0 pending", ""),
        ] {
            let read = json_pointer(page, pointer);
            assert!(
                matches!(read, Pending::Unknown(_)),
                "{page} {pointer}: {read:?}"
            );
        }
    }

    #[test]
    fn what_is_almost_zero_is_not_zero() {
        assert_eq!(json_pointer(r#"{"p":1e-400}"#, "/p"), Pending::Count(1));
    }

    proptest! {
        #[test]
        fn text_without_a_zero_never_reads_as_zero(
            text in "[-\\[\\]{}:,\"a1-9.eE ]{0,30}",
            pointer in "(/[a0~]{0,2}){0,3}",
        ) {
            prop_assert_ne!(json_pointer(&text, &pointer), Pending::Count(0));
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
            pointer in ".{0,10}",
        ) {
            let page = String::from_utf8_lossy(&bytes);

            prop_assert!(page.contains('0') || json_pointer(&page, &pointer) != Pending::Count(0));
        }

        #[test]
        fn a_number_reads_back(count in any::<u32>()) {
            let page = format!(r#"{{"a":[{{"b":{count}}}]}}"#);

            prop_assert_eq!(json_pointer(&page, "/a/0/b"), Pending::Count(u64::from(count)));
        }
    }
}
