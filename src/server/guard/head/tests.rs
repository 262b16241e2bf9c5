use proptest::prelude::*;

use super::*;

const LIMIT: usize = 64 * 1024;

/// What the long way says about a head that is whole.
fn the_long_way(bytes: &[u8]) -> Inspection {
    match find_end(bytes, &mut Scan::default()) {
        Ok(Some(end)) => read(&bytes[..end]).map_or_else(Inspection::Refused, Inspection::Whole),
        Ok(None) => Inspection::Partial,
        Err(refusal) => Inspection::Refused(refusal),
    }
}

/// Pieces that heads, good and bad, are made of.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let pieces: &[&[u8]] = &[
        b"GET ",
        b"POST ",
        b"CONNECT ",
        b"/",
        b"/a?b=c",
        b"http://a/",
        b" HTTP/1.1\r\n",
        b" HTTP/1.0\r\n",
        b"GET / HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b"\0",
        b"\x7f",
        b"\xff",
        b"a",
        b"5",
        b",",
        b"host: a\r\n",
        b"content-length: 5\r\n",
        b"Content-Length:\t5 \r\n",
        b"content-length: 0\r\n",
        b"transfer-encoding: chunked\r\n",
        b"upgrade: x\r\n",
        b"x-y: z\r\n",
        b"x-y:\r\n",
        b"\r\n\r\n",
    ];
    proptest::collection::vec(proptest::sample::select(pieces), 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn the_short_way_agrees_with_the_long_way(bytes in pieces()) {
        if let Some(head) = plain::read(&bytes) {
            prop_assert_eq!(Inspection::Whole(head), the_long_way(&bytes));
        }
    }

    #[test]
    fn pieces_are_read_like_the_whole(bytes in pieces(), size in 1_usize..9) {
        let whole = inspect(&bytes, &mut Scan::default(), LIMIT);
        let mut scan = Scan::default();
        let mut last = Inspection::Partial;
        for end in (0..bytes.len()).step_by(size).skip(1).chain([bytes.len()]) {
            last = inspect(&bytes[..end], &mut scan, LIMIT);
            if last != Inspection::Partial {
                break;
            }
        }
        prop_assert_eq!(whole, last);
    }
}

/// The random heads above would be worth little if the short way took none of them.
#[test]
fn ordinary_heads_go_the_short_way() {
    for (head, framing) in [
        ("GET /api2/json/nodes?x=1 HTTP/1.1\r\nhost: a:8006\r\naccept: */*\r\n\r\n", 0),
        ("POST /a HTTP/1.1\r\nhost: a\r\nContent-Length: 12\r\n\r\n", 12),
    ] {
        let expected = Head { length: head.len(), framing: Framing::Length(framing), switch: Switch::Never };
        assert_eq!(plain::read(head.as_bytes()), Some(expected));
    }
}
