//! What `collapse:` and `batch:` of a write mean.

use std::time::Duration;

use http::HeaderName;

use super::{Compiler, Here};
use crate::rules::document::{Step, at};
use crate::rules::meeting::{Batch, Critical, Meeting, Part};
use crate::rules::raw::{RawBatch, RawCritical, RawWrite};

/// Nothing is held for longer: clients give up on an answer, and what they sent would be done behind them.
const LONGEST_WINDOW: Duration = Duration::from_secs(30);

/// Methods that do the same however often a request is sent (RFC 9110 section 9.2.2), of those that write.
const IDEMPOTENT: [&str; 2] = ["PUT", "DELETE"];

impl Compiler<'_> {
    pub(super) fn meeting(&mut self, here: &Here, raw: &RawWrite) -> Meeting {
        let other = raw.methods.iter().find(|method| !IDEMPOTENT.contains(&method.as_str()));
        let keys = [("collapse", raw.collapse), ("batch", raw.batch.is_some())];
        for (key, _) in keys.iter().filter(|(_, is_there)| *is_there && !raw.idempotent) {
            let Some(method) = other else { continue };
            let message = format!(
                "`{key}` is for what does the same however often it is sent, as PUT and DELETE do: give `{method}` \
                 a rule of its own, or say `idempotent: true` if that is so of it too"
            );
            self.key_error(&here.path(&at![*key]), message);
        }
        if raw.idempotent && keys.iter().all(|(_, is_there)| !is_there) {
            self.key_error(
                &here.path(&at!["idempotent"]),
                "this says something about `collapse` and `batch` only",
            );
        }
        Meeting { collapse: raw.collapse, batch: raw.batch.as_ref().map(|batch| self.batch(here, batch)) }
    }

    fn batch(&mut self, here: &Here, raw: &RawBatch) -> Batch {
        let window = raw.window.0;
        if window.is_zero() || window > LONGEST_WINDOW {
            self.error(&here.path(&at!["batch", "window"]), "write a time over zero, and 30s at most");
        }
        let mut critical = Vec::with_capacity(raw.critical.items.len());
        for (index, item) in raw.critical.items.iter().enumerate() {
            let at = match raw.critical.listed {
                true => here.path(&at!["batch", "critical", index]),
                false => here.path(&at!["batch", "critical"]),
            };
            critical.extend(self.critical(&at, item));
        }
        Batch { window, critical }
    }

    fn critical(&mut self, at: &[Step], raw: &RawCritical) -> Option<Critical> {
        if raw.matches.is_empty() {
            self.error(at, "`matches` needs at least one text; without it any value will do");
        }
        let part = match (&raw.header, &raw.field) {
            (Some(name), None) => match HeaderName::from_bytes(name.as_bytes()) {
                Ok(header) => Part::Header(header),
                Err(_) => {
                    self.error(at, format!("`{name}` is not the name of a header field"));
                    return None;
                }
            },
            (None, Some(name)) if !name.is_empty() => Part::Field(name.clone()),
            _ => {
                self.error(at, "what is critical is told by a `header` or by a `field`, one of both");
                return None;
            }
        };
        Some(Critical { part, matches: raw.matches.clone() })
    }
}
