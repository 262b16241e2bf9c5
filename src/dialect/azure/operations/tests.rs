use http::HeaderValue;

use super::*;

const POLL: &str = "/subscriptions/s/providers/microsoft.compute/locations/eastus/operations/1";

fn fields(fields: &[(&'static str, &str)]) -> HeaderMap {
    let value = |value: &str| HeaderValue::from_str(value).expect("a field's value");
    fields.iter().map(|(name, text)| (http::HeaderName::from_static(name), value(text))).collect()
}

fn said(status: u16, given: &[(&'static str, &str)], body: Option<&str>) -> Option<Pending> {
    let status = StatusCode::from_u16(status).expect("a status");
    let heard = Heard { path: "/subscriptions/s/vm", query: None, status, fields: &fields(given) };
    pending(&heard, body.map(str::as_bytes))
}

#[test]
fn the_answer_to_a_write_says_what_goes_on() {
    let poll = "https://management.azure.com/Subscriptions/s/operations/1?api-version=1&t=1&c=a&s=b&h=c";
    let monitor = "https://eastus.management.azure.com:443/subscriptions/s/operations/1?monitor=true&t=1";
    let updating = Some(r#"{"id":"x","properties":{"provisioningState":"Updating"}}"#);
    let done = Some(r#"{"id":"x","properties":{"provisioningState":"Succeeded"}}"#);
    let all =
        said(202, &[("location", monitor), ("azure-asyncoperation", poll), ("retry-after", "17")], None)
            .expect("it goes on");
    let targets: Vec<_> =
        all.addresses.iter().map(|a| (&*a.name.0, &*a.target, a.region.as_deref())).collect();
    assert_eq!(
        targets,
        [
            (
                "poll /subscriptions/s/operations/1",
                poll.trim_start_matches("https://management.azure.com"),
                None
            ),
            (
                "monitor /subscriptions/s/operations/1",
                "/subscriptions/s/operations/1?monitor=true&t=1",
                Some("eastus")
            ),
        ]
    );
    assert_eq!((all.moves, all.pace), (false, Duration::from_secs(17)));
    let of = |status, fields: &[(&'static str, &str)], body| {
        said(status, fields, body).map(|pending| (pending.addresses.len(), pending.moves))
    };
    type Case<'c> = (u16, &'c [(&'static str, &'c str)], Option<&'c str>, Option<(usize, bool)>);
    let cases: [Case<'_>; 13] = [
        (202, &[("location", monitor)], None, Some((1, false))),
        (202, &[], None, Some((0, false))),
        (202, &[("location", "/relative")], None, Some((0, false))),
        (201, &[("azure-asyncoperation", poll)], updating, Some((1, true))),
        (200, &[("operation-location", poll)], done, Some((1, false))),
        (201, &[("location", "https://management.azure.com/subscriptions/s/vm")], updating, Some((0, true))),
        (201, &[("location", "https://management.azure.com/subscriptions/s/vm")], done, None),
        (200, &[], updating, Some((0, true))),
        (200, &[], done, None),
        (200, &[], Some(r#"{"properties":null}"#), None),
        (200, &[], Some("no JSON"), None),
        (204, &[], None, None),
        (409, &[("location", monitor)], updating, None),
    ];
    for (status, fields, body, expected) in cases {
        assert_eq!(of(status, fields, body), expected, "{status} {fields:?} {body:?}");
    }
}

#[test]
fn a_batch_goes_on_while_one_of_its_answers_does() {
    let goes_on = |inner: &str| {
        let body = format!(r#"{{"responses":[{{"httpStatusCode":200,"content":{{"value":[]}}}},{inner}]}}"#);
        let heard = Heard { path: "/batch", query: None, status: StatusCode::OK, fields: &HeaderMap::new() };
        pending(&heard, Some(body.as_bytes())).map(|pending| (pending.addresses.len(), pending.unknown_cap))
    };
    let holds = Some((0, UNKNOWN_CAP));
    for (inner, expected) in [
        (r#"{"httpStatusCode":202,"headers":{"Location":"https://a/b"},"content":null}"#, holds),
        (r#"{"httpStatusCode":202}"#, holds),
        (r#"{"httpStatusCode":201,"headers":{"Azure-AsyncOperation":"https://a/b"}}"#, holds),
        (r#"{"httpStatusCode":200,"content":{"properties":{"provisioningState":"Updating"}}}"#, holds),
        (r#"{"no":"status"}"#, holds),
        (r#"{"httpStatusCode":201,"headers":{"Location":"https://a/b"},"content":{}}"#, None),
        (r#"{"httpStatusCode":200,"content":{"properties":{"provisioningState":"Succeeded"}}}"#, None),
        (r#"{"httpStatusCode":200,"content":[1]}"#, None),
        (r#"{"httpStatusCode":404,"headers":null,"content":"text"}"#, None),
    ] {
        assert_eq!(goes_on(inner), expected, "{inner}");
    }
}

#[test]
fn how_long_to_wait_is_what_the_api_says() {
    for (named, seconds) in [("1", 1), ("0", 0), ("50", 50), ("99999", 600), ("soon", 10), ("1.5", 10)] {
        let pending = said(202, &[("retry-after", named)], None).expect("it goes on");
        assert_eq!(pending.pace, Duration::from_secs(seconds), "{named}");
    }
    assert_eq!(said(202, &[], None).expect("it goes on").pace, PACE);
}

#[test]
fn an_answer_at_an_address_says_how_it_stands() {
    let at = |status: u16, query: Option<&str>, body: &str| {
        let status = StatusCode::from_u16(status).expect("a status");
        let fields = fields(&[("retry-after", "7")]);
        progress(&Heard { path: POLL, query, status, fields: &fields }, body.as_bytes())
    };
    let seven = Duration::from_secs(7);
    let cases = [
        (200, None, r#"{"status":"InProgress"}"#, Progress::RunsPerhaps(seven)),
        (200, None, r#"{"status":"Accepted","name":"1"}"#, Progress::RunsPerhaps(seven)),
        (200, None, r#"{"status":"Succeeded"}"#, Progress::Ended),
        (200, None, r#"{"status":"succeeded"}"#, Progress::Ended),
        (200, None, r#"{"status":"Failed","error":{"code":"x"}}"#, Progress::Ended),
        (200, None, r#"{"status":"Canceled"}"#, Progress::Ended),
        (200, None, r#"{"status":"Cancelled"}"#, Progress::Ended),
        (200, None, "\u{feff}{\"status\":\"InProgress\"}", Progress::RunsPerhaps(seven)),
        (200, None, r#"{"name":"1"}"#, Progress::Ended),
        (200, None, r#"{"status":3}"#, Progress::Ended),
        (200, None, "", Progress::Ended),
        (204, None, "", Progress::Ended),
        (200, None, "\u{1f}\u{8b}", Progress::Perhaps),
        (202, None, "", Progress::Runs(seven)),
        (202, None, r#"{"status":"Succeeded"}"#, Progress::Runs(seven)),
        (202, Some("monitor=true"), "", Progress::Runs(seven)),
        (200, Some("a=b&Monitor=True"), r#"{"status":"Active"}"#, Progress::Ended),
        (404, None, "{}", Progress::Forgotten),
        (410, None, "{}", Progress::Forgotten),
        (400, None, "{}", Progress::Perhaps),
        (409, None, "{}", Progress::Perhaps),
        (500, None, "{}", Progress::Perhaps),
        (401, None, "{}", Progress::Unsaid),
        (403, None, "{}", Progress::Unsaid),
        (429, None, "{}", Progress::Unsaid),
        (503, None, "{}", Progress::Unsaid),
    ];
    for (status, query, body, expected) in cases {
        assert_eq!(at(status, query, body), expected, "{status} {query:?} {body}");
    }
}

#[test]
fn a_resource_shows_its_own_state() {
    let of = |status: u16, body: &str| {
        let status = StatusCode::from_u16(status).expect("a status");
        resource_progress(
            &Heard { path: "/vm", query: None, status, fields: &HeaderMap::new() },
            body.as_bytes(),
        )
    };
    let state = |state: &str| format!(r#"{{"properties":{{"a":{{}},"provisioningState":{state}}}}}"#);
    assert_eq!(of(200, &state(r#""Succeeded""#)), Progress::Ended);
    assert_eq!(of(200, &state(r#""Failed""#)), Progress::Ended);
    assert_eq!(of(200, &state(r#""Updating""#)), Progress::Runs(PACE));
    assert_eq!(of(200, &state("null")), Progress::Unsaid);
    assert_eq!(of(200, r#"{"provisioningState":"Succeeded"}"#), Progress::Unsaid);
    assert_eq!(of(200, "<html>"), Progress::Perhaps);
    assert_eq!(of(404, &state(r#""Succeeded""#)), Progress::Unsaid);
}

#[test]
fn addresses_are_known_by_their_form() {
    for path in [
        POLL,
        "/subscriptions/s/resourcegroups/g/providers/microsoft.resources/deployments/d/operationstatuses/08",
        "/subscriptions/s/operationresults/eyJq",
        "/subscriptions/s/providers/microsoft.compute/locations/eastus/diskoperations/1",
        "/subscriptions/s/providers/microsoft.x/locations/eastus/azureasyncoperations/1",
    ] {
        assert!(has_form(path), "{path}");
        assert_eq!(reach(path), "/subscriptions/s");
    }
    for path in [
        "/providers/microsoft.compute/operations",
        "/subscriptions/s/operations",
        "/operations/1",
        "/",
        // Names that say nothing.
        "/subscriptions/s/providers/microsoft.operationalinsights/workspaces",
        "/subscriptions/s/resourcegroups/our-operations/resources",
    ] {
        assert!(!has_form(path), "{path}");
    }
    assert_eq!(reach("/providers/x/operations/1"), "");
    assert_eq!(reach("/subscriptions/s"), "");
}

#[test]
fn a_signature_is_not_shown() {
    let pending = said(202, &[("location", "https://management.azure.com/a?t=1&c=secret")], None);
    assert!(!format!("{pending:?}").contains("secret"));
}

#[test]
fn what_names_an_operation_is_left_out_of_what_is_shown() {
    let shown = |path: &'static str| name_in(path).map(|at| &path[..at]);
    let base = "/subscriptions/s/providers/microsoft.x/locations/l/operations/";
    for path in [
        "/subscriptions/s/providers/microsoft.x/locations/l/operations/4c03",
        "/subscriptions/s/providers/microsoft.x/locations/l/operations/4c03/cancel",
        "/subscriptions/s/providers/microsoft.x/locations/l/operations/4c03/operationresults/4c04",
    ] {
        assert_eq!(shown(path), Some(base));
    }
    assert_eq!(shown("/subscriptions/s/operationresults/eyJq"), Some("/subscriptions/s/operationresults/"));
    for path in [
        "/providers/microsoft.compute/operations",
        "/subscriptions/s/providers/microsoft.operationalinsights/workspaces/w",
        "/subscriptions/s/resourcegroups/our-operations/providers/microsoft.x/t/n",
        "/",
    ] {
        assert_eq!(shown(path), None, "{path}");
    }
}
