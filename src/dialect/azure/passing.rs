//! Reads that ARM itself must answer.

use http::{HeaderMap, Method, header};

/// By what it asks for, or how.
///
/// A HEAD is a question of its own here: `az group exists` is answered 204 where a GET has 200.
pub(in crate::dialect) fn passes(
    method: &Method,
    path: &str,
    query: Option<&str>,
    headers: &HeaderMap,
) -> bool {
    *method == Method::HEAD
        || headers.iter().any(|(name, value)| asks_otherwise(name.as_str(), value.as_bytes()))
        || headers.get_all(header::ACCEPT_LANGUAGE).iter().nth(1).is_some()
        || is_of_one_moment(path)
        || query.is_some_and(is_signed)
}

/// Errors are localised by it (the contract, "Request Headers"). A request with several of it passes.
pub(in crate::dialect) fn variant(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(header::ACCEPT_LANGUAGE).map(|value| value.as_bytes())
}

/// Fields that ask for something else than the JSON that everybody gets: conditions, since clients copy
/// validators into writes; a part; another form or language.
fn asks_otherwise(name: &str, value: &[u8]) -> bool {
    match name {
        "range" | "prefer" | "x-ms-effective-locale" => true,
        "accept" => !is_json(value),
        _ => name.starts_with("if-"),
    }
}

/// Whether every form that is asked for is the one JSON that ARM has: SDKs, az and Terraform name it with
/// different parameters.
fn is_json(accept: &[u8]) -> bool {
    let Ok(accept) = std::str::from_utf8(accept) else { return false };
    let mut json = false;
    accept.split(',').all(|range| {
        let mut parts = range.split(';').map(str::trim);
        let form = parts.next().unwrap_or_default();
        let is = |names: &[&str]| names.iter().any(|name| form.eq_ignore_ascii_case(name));
        // Browsers' libraries name text beside JSON, and get JSON.
        let known =
            is(&["application/json", "text/json", "application/*", "*/*"]) || json && is(&["text/plain"]);
        json |= known;
        let harmless = |parameter: &str| {
            let name = parameter.split('=').next().unwrap_or_default().trim();
            ["charset", "q", "ieee754compatible"].iter().any(|known| name.eq_ignore_ascii_case(known))
        };
        known && parts.all(harmless)
    })
}

/// What a path names at a place where types and actions stand, or below a location: how an operation goes
/// on, or a secret. Names of providers have a dot.
fn is_of_one_moment(path: &str) -> bool {
    let mut types = Types::default();
    path.split('/').skip(1).any(|segment| match types.next(segment) {
        Place::Type => {
            // `operations`, `operationStatuses`, `asyncOperations`, `DiskOperations`, `operationResults`...
            segment.contains("operation")
                || segment.starts_with("list")
                || SECRETS.iter().any(|word| segment.contains(word))
                || segment.ends_with("keys") && segment != "keys"
                || types.below_location && (segment.contains("result") || segment.contains("status"))
        }
        Place::Name => OPERATIONS.contains(&segment),
        Place::Other => false,
    })
}

/// Where types and names do not take turns as they should, these alone tell.
pub(super) const OPERATIONS: [&str; 6] = [
    "operations",
    "operationstatuses",
    "operationsstatus",
    "operationresults",
    "asyncoperations",
    "diskoperations",
];

/// Words in the names of types and actions that show what nobody else may see.
const SECRETS: [&str; 5] = ["secret", "token", "credential", "password", "connectionstring"];

/// Walks a path: behind `/subscriptions/{id}`, `/resourcegroups/{name}` and `/providers/{namespace}` types
/// and names take turns.
#[derive(Default)]
struct Types {
    before: Before,
    below_location: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Before {
    #[default]
    Name,
    Type {
        of_group: bool,
    },
    Providers,
}

enum Place {
    Type,
    /// The name of a resource, but not of a group, which its owner chose.
    Name,
    Other,
}

impl Types {
    fn next(&mut self, segment: &str) -> Place {
        match self.before {
            Before::Providers => {
                self.before = Before::Name;
                Place::Other
            }
            Before::Type { of_group } => {
                self.before = Before::Name;
                if of_group { Place::Other } else { Place::Name }
            }
            Before::Name if segment == "providers" => {
                (self.before, self.below_location) = (Before::Providers, false);
                Place::Other
            }
            Before::Name => {
                let of_group = matches!(segment, "subscriptions" | "resourcegroups");
                self.before = Before::Type { of_group };
                self.below_location |= segment == "locations";
                Place::Type
            }
        }
    }
}

/// The signature of an operation's address (`t`, `c`, `s`, `h`), one that monitors, or a signed address of
/// storage.
fn is_signed(query: &str) -> bool {
    let mut parts = 0;
    query.split('&').any(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        parts += usize::from(["t", "c", "s", "h"].iter().any(|known| is(known)));
        parts > 1 || is("sig") || is("monitor") && value.eq_ignore_ascii_case("true")
    })
}
