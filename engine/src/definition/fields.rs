//! Reads typed fields out of a JSON object and notes every mistake instead of stopping at one.
//!
//! `null` means "not given" (as Marathon's RAML readers treat it); unknown keys are ignored, because
//! clients send back what they read.

use serde_json::{Map, Value};

use crate::issues::Issues;

/// One JSON object with the path under which its mistakes are reported.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

impl<'a> Fields<'a> {
    /// Returns the reader of the object at the root of a body.
    pub(crate) fn root(map: &'a Map<String, Value>) -> Self {
        Self {
            map,
            path: String::new(),
        }
    }

    /// Returns the path of a field of this object.
    pub(crate) fn path(&self, key: &str) -> String {
        format!("{}/{key}", self.path)
    }

    /// Returns a field's value unless it is absent or null.
    pub(crate) fn value(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Returns whether a field is given at all.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// Returns whether a field is given and is not an empty array or object.
    pub(crate) fn has_content(&self, key: &str) -> bool {
        self.value(key).is_some_and(|value| match value {
            Value::Array(items) => !items.is_empty(),
            Value::Object(map) => !map.is_empty(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        })
    }

    /// Returns a text field.
    pub(crate) fn text(&self, key: &str, issues: &mut Issues) -> Option<&'a str> {
        let value = self.value(key)?;
        if value.as_str().is_none() {
            issues.add_wrong_type(&self.path(key), "jsstring");
        }
        value.as_str()
    }

    /// Returns a boolean field.
    pub(crate) fn boolean(&self, key: &str, issues: &mut Issues) -> Option<bool> {
        let value = self.value(key)?;
        if !value.is_boolean() {
            issues.add_wrong_type(&self.path(key), "jsboolean");
        }
        value.as_bool()
    }

    /// Returns a number that must not be below a minimum.
    pub(crate) fn number(&self, key: &str, min: f64, issues: &mut Issues) -> Option<f64> {
        let value = self.value(key)?;
        let Some(number) = value.as_f64() else {
            issues.add_wrong_type(&self.path(key), "jsnumber");
            return None;
        };
        if number < min {
            issues.add(&self.path(key), format!("is less than {min}"));
        }
        Some(number)
    }

    /// Returns a whole number between 0 and a maximum. `3.0` counts as whole.
    pub(crate) fn whole(&self, key: &str, max: u32, issues: &mut Issues) -> Option<u32> {
        whole_value(self.value(key)?, &self.path(key), max, issues)
    }

    /// Returns an array field.
    pub(crate) fn array(&self, key: &str, issues: &mut Issues) -> Option<&'a [Value]> {
        let value = self.value(key)?;
        let array = value.as_array();
        if array.is_none() {
            issues.add_wrong_type(&self.path(key), "jsarray");
        }
        array.map(Vec::as_slice)
    }

    /// Returns an array field of texts.
    pub(crate) fn texts(&self, key: &str, issues: &mut Issues) -> Option<Vec<String>> {
        let array = self.array(key, issues)?;
        let texts = array.iter().enumerate().filter_map(|(index, item)| {
            if item.as_str().is_none() {
                issues.add_wrong_type(&format!("{}({index})", self.path(key)), "jsstring");
            }
            item.as_str().map(str::to_owned)
        });
        Some(texts.collect())
    }

    /// Returns the reader of an object field.
    pub(crate) fn object(&self, key: &str, issues: &mut Issues) -> Option<Self> {
        let value = self.value(key)?;
        object_value(value, self.path(key), issues)
    }

    /// Returns the reader of an object field; another reader reports it where it is none.
    pub(crate) fn quiet_object(&self, key: &str) -> Option<Self> {
        let map = self.value(key)?.as_object()?;
        Some(Fields {
            map,
            path: self.path(key),
        })
    }

    /// Returns the readers of an array field of objects.
    pub(crate) fn objects(&self, key: &str, issues: &mut Issues) -> Option<Vec<Self>> {
        let array = self.array(key, issues)?;
        let objects = array.iter().enumerate().filter_map(|(index, item)| {
            object_value(item, format!("{}({index})", self.path(key)), issues)
        });
        Some(objects.collect())
    }

    /// Returns the entries of an object field whose values are texts.
    pub(crate) fn text_map(&self, key: &str, issues: &mut Issues) -> Option<Vec<(String, String)>> {
        let object = self.object(key, issues)?;
        let keys = object.map.keys();
        let entries = keys.filter_map(|name| {
            let text = object.text(name, issues)?;
            Some((name.clone(), text.to_owned()))
        });
        Some(entries.collect())
    }

    /// Returns the names of the fields that are given.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, _)| name.as_str())
    }
}

/// Returns a value as a whole number between 0 and a maximum.
pub(crate) fn whole_value(value: &Value, path: &str, max: u32, issues: &mut Issues) -> Option<u32> {
    let Some(number) = value.as_f64() else {
        issues.add_wrong_type(path, "jsnumber");
        return None;
    };
    if number.fract() != 0.0 {
        issues.add_wrong_type(path, "int");
        return None;
    }
    if number < 0.0 {
        issues.add(path, "is less than 0");
        return None;
    }
    if number > f64::from(max) {
        issues.add(path, format!("is greater than {max}"));
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the number is whole and lies between 0 and a u32"
    )]
    Some(number as u32)
}

fn object_value<'a>(value: &'a Value, path: String, issues: &mut Issues) -> Option<Fields<'a>> {
    let Some(map) = value.as_object() else {
        issues.add_wrong_type(&path, "jsobject");
        return None;
    };
    Some(Fields { map, path })
}
