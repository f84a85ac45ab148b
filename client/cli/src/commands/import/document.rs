//! A parsed document, read field by field: every refusal names the field.

use serde_json::Value;

/// An object and where it stands in the document.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    value: &'a Value,
    path: String,
}

impl<'a> Node<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        Self { value, path: String::new() }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn value(&self) -> &'a Value {
        self.value
    }

    /// What a field holds; null is nothing.
    pub(super) fn get(&self, key: &str) -> Option<Node<'a>> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Some(Node { value, path })
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, String> {
        self.typed(key, "a text", Value::as_str)
    }

    /// A text that is there and not empty.
    pub(super) fn non_empty(&self, key: &str) -> Result<Option<&'a str>, String> {
        Ok(self.text(key)?.filter(|text| !text.is_empty()))
    }

    pub(super) fn whole(&self, key: &str) -> Result<Option<u64>, String> {
        self.typed(key, "a whole number from 0", Value::as_u64)
    }

    pub(super) fn flag(&self, key: &str) -> Result<bool, String> {
        Ok(self.typed(key, "true or false", Value::as_bool)?.unwrap_or(false))
    }

    /// The items of a list; none if it is missing.
    pub(super) fn items(&self, key: &str) -> Result<Vec<Node<'a>>, String> {
        let Some(node) = self.get(key) else { return Ok(Vec::new()) };
        let list = node.value.as_array().ok_or_else(|| format!("{}: is not a list", node.path))?;
        let items = list.iter().enumerate();
        Ok(items.map(|(index, value)| Node { value, path: format!("{}[{index}]", node.path) }).collect())
    }

    /// A list of texts; none if it is missing.
    pub(super) fn texts(&self, key: &str) -> Result<Vec<String>, String> {
        let read = |node: Node<'a>| {
            node.value.as_str().map(str::to_owned).ok_or_else(|| format!("{}: is not a text", node.path))
        };
        self.items(key)?.into_iter().map(read).collect()
    }

    /// The pairs of an object whose values are texts, numbers or switches; none if it is missing.
    pub(super) fn pairs(&self, key: &str) -> Result<Vec<(String, String)>, String> {
        let Some(node) = self.get(key) else { return Ok(Vec::new()) };
        let object = node.value.as_object().ok_or_else(|| format!("{}: is not an object", node.path))?;
        let pair = |(key, value): (&String, &Value)| match value {
            Value::String(text) => Ok((key.clone(), text.clone())),
            Value::Number(_) | Value::Bool(_) => Ok((key.clone(), value.to_string())),
            Value::Null => Ok((key.clone(), String::new())),
            Value::Array(_) | Value::Object(_) => Err(format!("{}.{key}: is not a text", node.path)),
        };
        object.iter().map(pair).collect()
    }

    /// The names of what an object holds; none if it is missing.
    pub(super) fn keys(&self, key: &str) -> Result<Vec<&'a str>, String> {
        let Some(node) = self.get(key) else { return Ok(Vec::new()) };
        let object = node.value.as_object().ok_or_else(|| format!("{}: is not an object", node.path))?;
        Ok(object.keys().map(String::as_str).collect())
    }

    /// The fields that hold something and are none of these, with their paths.
    pub(super) fn besides(&self, known: &[&str]) -> Vec<String> {
        let Some(object) = self.value.as_object() else { return Vec::new() };
        let others = object.iter().filter(|(key, value)| !known.contains(&key.as_str()) && !is_empty(value));
        others.filter_map(|(key, _)| self.get(key)).map(|node| node.path).collect()
    }

    fn typed<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let Some(node) = self.get(key) else { return Ok(None) };
        read(node.value).map(Some).ok_or_else(|| format!("{}: is not {expected}", node.path))
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}
