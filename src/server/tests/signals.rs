//! The process' signals, sent to the test's own process after it has taken them over.

use rustix::process::{Signal as Number, getpid, kill_process};

use super::super::signals::{Signal, Signals};
use super::within;

#[tokio::test]
async fn the_first_end_drains_and_the_second_stops() {
    let mut signals = Signals::new().unwrap();
    for (number, expected) in [
        (Number::HUP, Signal::Reload),
        (Number::TERM, Signal::Drain),
        (Number::HUP, Signal::Reload),
        (Number::INT, Signal::Stop),
    ] {
        kill_process(getpid(), number).unwrap();
        assert_eq!(within(signals.next()).await, expected);
    }
}
