//! Placement constraints on a cluster of one machine: each holds, or can never hold.
//!
//! A constraint that can never hold would leave the app waiting for ever on a real Marathon; here
//! it is refused when the definition is read.

use super::fields::Fields;
use crate::issues::Issues;

/// Reads the constraints and reports those that one machine cannot fulfil.
pub(super) fn read(fields: &Fields<'_>, instances: u32, issues: &mut Issues) -> Vec<Vec<String>> {
    let mut constraints = Vec::new();
    for (index, item) in fields
        .array("constraints", issues)
        .unwrap_or_default()
        .iter()
        .enumerate()
    {
        let path = format!("{}({index})", fields.path("constraints"));
        let words: Option<Vec<String>> = item.as_array().and_then(|words| {
            let texts = words.iter().map(|word| word.as_str().map(str::to_owned));
            texts.collect()
        });
        let Some(words) = words else {
            issues.add_wrong_type(&path, "jsarray");
            continue;
        };
        if let Err(problem) = holds(&words, instances) {
            issues.add(&path, problem);
        }
        constraints.push(words);
    }
    constraints
}

/// Says whether a constraint holds for so many instances on one machine.
///
/// The operators are those of `mesosphere.mesos.Constraints`.
fn holds(words: &[String], instances: u32) -> Result<(), String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (field, operator, value) = match words.as_slice() {
        [field, operator] => (*field, *operator, None),
        [field, operator, value] => (*field, *operator, Some(*value)),
        _ => return Err("must have two or three elements".to_owned()),
    };
    const OPERATORS: [&str; 7] = [
        "UNIQUE", "CLUSTER", "GROUP_BY", "LIKE", "UNLIKE", "MAX_PER", "IS",
    ];
    if !OPERATORS.contains(&operator) {
        return Err(format!("operator must be one of {}", OPERATORS.join(", ")));
    }
    if field != "hostname" && field != "@hostname" {
        return Err(format!(
            "can never hold: this engine is one machine without the attribute '{field}'"
        ));
    }
    let limit: Option<u32> = value.and_then(|value| value.parse().ok());
    match operator {
        "UNIQUE" if instances <= 1 => Ok(()),
        "UNIQUE" => Err(format!(
            "can never hold: {instances} instances cannot be on different hosts of one machine"
        )),
        "MAX_PER" if limit.is_none() => Err("MAX_PER needs a whole number".to_owned()),
        "MAX_PER" if limit >= Some(instances) => Ok(()),
        "MAX_PER" => Err(format!(
            "can never hold: {instances} instances are more than MAX_PER allows on one machine"
        )),
        "CLUSTER" | "GROUP_BY" if value.is_none() => Ok(()),
        "GROUP_BY" if limit == Some(1) => Ok(()),
        _ => Err(format!(
            "{operator} with a value is not supported by this engine: it is one machine"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constraint_is_accepted_exactly_where_one_machine_fulfils_it() {
        let cases: [(&[&str], u32, bool); 9] = [
            (&["hostname", "UNIQUE"], 1, true),
            (&["hostname", "UNIQUE"], 2, false),
            (&["hostname", "CLUSTER"], 5, true),
            (&["hostname", "GROUP_BY"], 5, true),
            (&["@hostname", "MAX_PER", "3"], 3, true),
            (&["hostname", "MAX_PER", "3"], 4, false),
            (&["rack", "GROUP_BY"], 1, false),
            (&["hostname", "SOMEWHERE"], 1, false),
            (&["hostname"], 1, false),
        ];
        for (words, instances, accepted) in cases {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            assert_eq!(
                holds(&words, instances).is_ok(),
                accepted,
                "{words:?} × {instances}"
            );
        }
    }
}
