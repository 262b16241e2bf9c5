use super::*;

#[test]
fn what_is_read_is_shown_in_its_canonical_form() {
    for (text, shown) in [
        ("500ms", "500ms"),
        ("5s", "5s"),
        ("60s", "1m"),
        ("90m", "90m"),
        ("24h", "1d"),
        ("0s", "0s"),
        ("0ms", "0s"),
    ] {
        assert_eq!(text.parse::<Span>().map(|span| span.to_string()).as_deref(), Ok(shown), "{text}");
    }
    for (text, shown) in [
        ("512B", "512B"),
        ("64KiB", "64KiB"),
        ("1024MiB", "1GiB"),
        ("2kB", "2kB"),
        ("0B", "0B"),
        ("5MB", "5MB"),
    ] {
        assert_eq!(text.parse::<ByteSize>().map(|size| size.to_string()).as_deref(), Ok(shown), "{text}");
    }
    for text in ["20/s", "100/m", "500/h"] {
        assert_eq!(text.parse::<Rate>().map(|rate| rate.to_string()).as_deref(), Ok(text));
    }
    for text in ["0%", "0.1%", "10%", "100%"] {
        assert_eq!(text.parse::<Share>().map(|share| share.to_string()).as_deref(), Ok(text));
    }
    assert_eq!("2d".parse(), Ok(Span(Duration::from_secs(172_800))));
    assert_eq!("1GB".parse(), Ok(ByteSize(1_000_000_000)));
}

#[test]
fn a_quantity_without_a_unit_is_refused() {
    for text in ["", "0", "5", "s", "-5s", "5 s", "1.5s", "5S", "+5s", "99999999999999999999s", "5min"] {
        assert!(text.parse::<Span>().is_err(), "{text}");
    }
    for text in ["", "0", "64", "64K", "64kb", "99999999999GiB", "-1B"] {
        assert!(text.parse::<ByteSize>().is_err(), "{text}");
    }
    for text in ["", "20", "0/s", "20/d", "/s", "+20/s", "1.5/s", "20/"] {
        assert!(text.parse::<Rate>().is_err(), "{text}");
    }
    for text in ["", "10", "101%", "-1%", "%", "NaN%", "inf%", "1e1%"] {
        assert!(text.parse::<Share>().is_err(), "{text}");
    }
}

#[test]
fn a_bare_number_in_yaml_is_told_the_units() {
    let error = serde_yaml::from_str::<Vec<Span>>("- 5s\n- 0\n").unwrap_err().to_string();
    assert!(error.contains("ms, s, m, h or d") && error.contains("line 2 column 3"), "{error}");
    assert!(serde_yaml::from_str::<ByteSize>("64").is_err());
    assert_eq!(serde_yaml::from_str::<Rate>("20/s").ok(), "20/s".parse().ok());
}
