//! When an endpoint is left alone, and how it comes back.

use super::*;

const CONFIG: BreakerConfig = BreakerConfig { failures: 3, open_for: Duration::from_secs(10) };

#[tokio::test(start_paused = true)]
async fn a_row_of_failures_opens_it_and_a_success_ends_the_row() {
    let health = Health::new(CONFIG, Gauge::noop());
    for _ in 0..5 {
        assert_eq!(
            (health.failed(Fault::Silent), health.failed(Fault::Silent)),
            (Change::None, Change::None)
        );
        assert_eq!(health.standing(), Standing::Up);
        assert_eq!(health.succeeded(), Change::None);
    }
    assert_eq!(
        [health.failed(Fault::Silent), health.failed(Fault::Silent), health.failed(Fault::Silent)].last(),
        Some(&Change::Opened)
    );
    assert_eq!((health.standing(), health.claim(DOWN_FOR)), (Standing::Down, false));
    // A late answer to a call from before does not close it.
    assert_eq!((health.succeeded(), health.standing()), (Change::None, Standing::Down));
    tokio::time::advance(CONFIG.open_for).await;
    assert_eq!(health.standing(), Standing::Probe);
    assert!(health.claim(DOWN_FOR));
    assert!(!health.claim(DOWN_FOR), "one at a time");
    assert_eq!((health.failed(Fault::Silent), health.standing()), (Change::None, Standing::Down));
}

#[tokio::test(start_paused = true)]
async fn it_comes_back_step_by_step() {
    let health = Health::new(CONFIG, Gauge::noop());
    for _ in 0..3 {
        health.failed(Fault::Silent);
    }
    assert_eq!(health.care(), (Care::Probe, Change::None));
    assert_eq!((health.answers(), health.standing()), (Change::Places, Standing::Up));
    assert_eq!(health.places(16), 1, "one call decides");
    assert_eq!(health.care(), (Care::Wait, Change::None));
    assert_eq!((health.succeeded(), health.places(16)), (Change::Places, 4));
    let steps: Vec<_> = (0..3).map(|_| (health.care().0, health.places(16))).collect();
    assert_eq!(steps, [(Care::Wait, 8), (Care::Wait, 12), (Care::Over, 16)]);
    assert!(health.well.load(Ordering::Acquire));
}

#[tokio::test(start_paused = true)]
async fn the_call_that_decides_may_say_no() {
    let health = Health::new(CONFIG, Gauge::noop());
    for _ in 0..3 {
        health.failed(Fault::Silent);
    }
    health.answers();
    assert_eq!((health.failed(Fault::Silent), health.standing()), (Change::Opened, Standing::Down));
    health.answers();
    tokio::time::advance(CONFIG.open_for).await;
    assert_eq!(health.care(), (Care::Wait, Change::Places), "nobody called it");
    assert_eq!(health.standing(), Standing::Up);
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_counts_at_once_and_is_soon_forgotten() {
    let health = Health::new(CONFIG, Gauge::noop());
    assert_eq!(health.failed(Fault::Refused), Change::Opened);
    for _ in 0..9 {
        health.failed(Fault::Refused);
    }
    assert_eq!(health.standing(), Standing::Refusing, "that costs no time to find out");
    assert_eq!((health.succeeded(), health.places(16)), (Change::Places, 16));
    assert_eq!(health.standing(), Standing::Up);
    health.failed(Fault::Unconnectable);
    assert_eq!(health.standing(), Standing::Down);
    tokio::time::advance(DOWN_FOR).await;
    assert_eq!(health.standing(), Standing::Probe);
    for _ in 0..3 {
        health.failed(Fault::Unconnectable);
    }
    tokio::time::advance(DOWN_FOR).await;
    assert_eq!(health.standing(), Standing::Down, "as often as it may");
}

#[tokio::test(start_paused = true)]
async fn calls_of_our_own_count_in_the_row_and_take_back_only_what_they_said() {
    let health = Health::new(CONFIG, Gauge::noop());
    for _ in 0..5 {
        assert_eq!(
            (health.misses(Fault::Silent), health.misses(Fault::Prompt)),
            (Change::None, Change::None)
        );
        assert!(!health.is_well());
        assert_eq!((health.answers(), health.is_well()), (Change::None, true));
    }
    // A row of both.
    health.failed(Fault::Silent);
    health.misses(Fault::Silent);
    assert_eq!((health.misses(Fault::Silent), health.standing()), (Change::Opened, Standing::Down));
    // Once calls are held back, nothing is new about that.
    tokio::time::advance(CONFIG.open_for).await;
    assert_eq!((health.misses(Fault::Refused), health.standing()), (Change::None, Standing::Probe));
    assert_eq!(health.succeeded(), Change::Places);
    for _ in 0..3 {
        health.care();
    }
    assert!(health.is_well());
    // The cheap call is answered and the others are not.
    for _ in 0..2 {
        assert_eq!(health.failed(Fault::Silent), Change::None);
        assert_eq!((health.answers(), health.is_well()), (Change::None, false));
    }
    assert_eq!(health.failed(Fault::Silent), Change::Opened);
}

#[tokio::test(start_paused = true)]
async fn what_was_opened_by_our_own_calls_is_well_after_its_steps_without_any_other() {
    let health = Health::new(CONFIG, Gauge::noop());
    assert_eq!((health.misses(Fault::Refused), health.standing()), (Change::Opened, Standing::Refusing));
    assert_eq!((health.answers(), health.places(16)), (Change::Places, 1));
    tokio::time::advance(CONFIG.open_for).await;
    let steps: Vec<_> = (0..4).map(|_| (health.care().0, health.places(16))).collect();
    assert_eq!(steps, [(Care::Wait, 4), (Care::Wait, 8), (Care::Wait, 12), (Care::Over, 16)]);
    assert!(health.is_well());
}

#[tokio::test(start_paused = true)]
async fn what_fails_at_once_is_still_called_where_there_is_nothing_else() {
    let health = Health::new(CONFIG, Gauge::noop());
    for fault in [Fault::Silent, Fault::Silent, Fault::Prompt] {
        health.failed(fault);
    }
    assert_eq!((health.standing(), health.claim(DOWN_FOR)), (Standing::Refusing, false));
    // The first that is answered says that it is well: nobody was held back meanwhile.
    assert_eq!((health.succeeded(), health.places(16)), (Change::Places, 16));
    assert!(health.is_well());
    for fault in [Fault::Prompt, Fault::Prompt, Fault::Silent] {
        health.failed(fault);
    }
    assert_eq!(health.standing(), Standing::Down, "it would cost its callers their time");
}
