//! The fields of an answer that move by themselves, as a rule names them.

use serde_json::Value;
use thiserror::Error;

/// A JSON pointer (RFC 6901) in which `*` stands for every item of a list and every member of an
/// object: `/data/*/cpu` is the field `cpu` of each item. A member that is really called `*` cannot be
/// named alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moving {
    text: String,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Each,
    Member(String),
}

/// Why a pointer could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MovingError {
    /// It does not begin with a slash; the empty pointer would leave nothing to compare.
    #[error(
        "`{0}` is not a JSON pointer into the answer: write /data/uptime, or /data/*/uptime for every item"
    )]
    NoPointer(String),
    /// `~` is followed by neither 0 nor 1 (RFC 6901 §3).
    #[error("`{0}`: in a JSON pointer `~0` stands for `~` and `~1` for `/`")]
    Escape(String),
}

impl Moving {
    pub(super) fn parse(text: &str) -> Result<Self, MovingError> {
        let rest = text.strip_prefix('/').ok_or_else(|| MovingError::NoPointer(text.to_owned()))?;
        let step = |segment: &str| match segment {
            "*" => Some(Step::Each),
            _ => unescape(segment).map(Step::Member),
        };
        let steps: Option<Vec<Step>> = rest.split('/').map(step).collect();
        match steps {
            Some(steps) => Ok(Self { text: text.to_owned(), steps }),
            None => Err(MovingError::Escape(text.to_owned())),
        }
    }

    /// The pointer as it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Takes what it names out of `answer`.
    pub fn leave_out(&self, answer: &mut Value) {
        leave_out(&self.steps, answer);
    }
}

fn leave_out(steps: &[Step], value: &mut Value) {
    let Some((first, rest)) = steps.split_first() else { return };
    match (value, first) {
        (Value::Object(members), Step::Each) if rest.is_empty() => members.clear(),
        (Value::Array(items), Step::Each) if rest.is_empty() => items.clear(),
        (Value::Object(members), Step::Each) => {
            members.values_mut().for_each(|member| leave_out(rest, member));
        }
        (Value::Array(items), Step::Each) => items.iter_mut().for_each(|item| leave_out(rest, item)),
        (Value::Object(members), Step::Member(name)) if rest.is_empty() => drop(members.remove(name)),
        (Value::Object(members), Step::Member(name)) => {
            members.get_mut(name).into_iter().for_each(|member| leave_out(rest, member));
        }
        // Places in a list have no names here: lists come in any order.
        _ => {}
    }
}

fn unescape(segment: &str) -> Option<String> {
    let broken = segment.split('~').skip(1).any(|after| !after.starts_with(['0', '1']));
    (!broken).then(|| segment.replace("~1", "/").replace("~0", "~"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pointer_names_a_field_here_or_in_every_item() {
        let answer = json!({"data": [{"cpu": 1, "n": {"a": {"in": 1}, "b": {"in": 2}}}, {"cpu": 2}, 3], "x/y": 1, "~": 2});
        let cases = [
            (
                "/data/*/cpu",
                json!({"data": [{"n": {"a": {"in": 1}, "b": {"in": 2}}}, {}, 3], "x/y": 1, "~": 2}),
            ),
            (
                "/data/*/n/*/in",
                json!({"data": [{"cpu": 1, "n": {"a": {}, "b": {}}}, {"cpu": 2}, 3], "x/y": 1, "~": 2}),
            ),
            ("/data/*", json!({"data": [], "x/y": 1, "~": 2})),
            ("/data", json!({"x/y": 1, "~": 2})),
            ("/x~1y", json!({"data": answer["data"], "~": 2})),
            ("/~0", json!({"data": answer["data"], "x/y": 1})),
            ("/data/0/cpu", answer.clone()),
            ("/none/*/x", answer.clone()),
            ("/*", json!({})),
        ];
        for (pointer, left) in cases {
            let mut value = answer.clone();
            Moving::parse(pointer).expect(pointer).leave_out(&mut value);
            assert_eq!(value, left, "{pointer}");
        }
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        for (text, escape) in [("", false), ("data/x", false), ("/a~2", true), ("/a~", true)] {
            let error = Moving::parse(text).expect_err(text);
            assert_eq!(matches!(error, MovingError::Escape(_)), escape, "{text}");
        }
    }
}
