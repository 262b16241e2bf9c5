//! What goes wrong at the API and on the way, and how often.

use std::time::Duration;

use fastrand::Rng;

/// How likely each trouble is for one request, and how far one tick moves the clock.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// A request or its answer is held for a while.
    pub hold: f32,
    /// Something breaks.
    pub fault: f32,
    /// Something changes behind forebay's back, for each request that the API gets.
    pub behind: f32,
    /// A client writes.
    pub write: f32,
    /// A client leaves before its answer comes.
    pub leave: f32,
    /// Milliseconds of a tick: less than the slack of the check, since an answer may be on its way (a test of
    /// [`super::showing`] holds it).
    pub tick: u64,
    /// Every call fails.
    pub outage: bool,
    /// The answers of many writes are lost, and what they do lands seconds later.
    pub lost: bool,
    /// No client reads of tasks: only forebay's own feed tells of those that others start.
    pub unseen: bool,
    /// Most that changes are rights.
    pub rights: bool,
}

impl Weather {
    /// Nothing goes wrong, little is written.
    pub const CALM: Weather = Weather {
        hold: 0.02,
        fault: 0.0,
        behind: 0.01,
        write: 0.03,
        leave: 0.0,
        tick: 300,
        outage: false,
        lost: false,
        unseen: false,
        rights: false,
    };

    const BUSY: Weather = Weather { hold: 0.2, write: 0.2, behind: 0.02, tick: 25, ..Weather::CALM };
    const SLOW: Weather = Weather { hold: 0.6, write: 0.4, behind: 0.02, tick: 10, ..Weather::CALM };
    const ROUGH: Weather =
        Weather { hold: 0.2, fault: 0.08, write: 0.15, leave: 0.03, behind: 0.02, tick: 40, ..Weather::CALM };
    const BEHIND: Weather = Weather { behind: 0.2, write: 0.0, tick: 300, ..Weather::CALM };
    const UNSEEN: Weather = Weather { behind: 0.08, write: 0.0, tick: 600, unseen: true, ..Weather::CALM };
    const LOST: Weather = Weather { write: 0.08, behind: 0.0, tick: 400, lost: true, ..Weather::CALM };
    const RIGHTS: Weather = Weather { write: 0.03, behind: 0.02, tick: 600, rights: true, ..Weather::CALM };
    const AGES: Weather = Weather { write: 0.0, behind: 0.02, tick: 900, rights: true, ..Weather::CALM };
    const ENDS: Weather = Weather { hold: 0.4, write: 0.0, tick: 500, unseen: true, ..Weather::CALM };
    const FEW: Weather = Weather { hold: 0.1, write: 0.006, tick: 900, ..Weather::CALM };
    const DOWN: Weather = Weather { outage: true, write: 0.02, tick: 100, ..Weather::CALM };

    /// The weather of a phase.
    pub fn any(climate: Climate, rng: &mut Rng) -> Weather {
        let kinds = climate.kinds();
        kinds[rng.usize(..kinds.len())]
    }
}

/// The ticks of all weather.
pub fn ticks() -> impl Iterator<Item = Duration> {
    let all = [Climate::Mixed, Climate::Unseen, Climate::Lost, Climate::Rights, Climate::Ends, Climate::Few];
    all.into_iter().flat_map(Climate::kinds).map(|weather| Duration::from_millis(weather.tick))
}

/// Which weather there is in a run: some mistakes show only where little else happens for long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Climate {
    /// Everything, by turns.
    Mixed,
    /// Others do much, and only the feed tells of it.
    Unseen,
    /// Answers of writes are lost.
    Lost,
    /// Rights change.
    Rights,
    /// Credentials end by themselves, all the time, where an API's do.
    Ends,
    /// Little changes, for minutes.
    Few,
}

impl Climate {
    fn kinds(self) -> &'static [Weather] {
        match self {
            Climate::Mixed => &[
                Weather::CALM,
                Weather::BUSY,
                Weather::BUSY,
                Weather::SLOW,
                Weather::ROUGH,
                Weather::ROUGH,
                Weather::BEHIND,
                Weather::DOWN,
            ],
            Climate::Unseen => &[Weather::UNSEEN, Weather::UNSEEN, Weather::UNSEEN, Weather::CALM],
            Climate::Lost => &[Weather::LOST, Weather::LOST, Weather::LOST, Weather::CALM],
            Climate::Ends => &[Weather::ENDS],
            Climate::Few => &[Weather::FEW],
            Climate::Rights => {
                &[Weather::RIGHTS, Weather::RIGHTS, Weather::AGES, Weather::AGES, Weather::DOWN]
            }
        }
    }

    /// That of a seed. Half of all have a feed, and half share by rights.
    pub fn of(seed: u64) -> Self {
        match seed % 8 {
            1 => Climate::Unseen,
            2 => Climate::Rights,
            4 => Climate::Lost,
            _ => Climate::Mixed,
        }
    }
}

/// When a write takes effect whose answer does not tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Never.
    Never,
    /// Before the answer.
    Before,
    /// Some time after it.
    Later,
}

/// What becomes of one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is answered.
    Answered,
    /// It is refused with this status; of a write part may have taken effect.
    Refused(u16, Effect),
    /// A relay answers that it gave up, with this status.
    GivenUp(u16, Effect),
    /// The connection is reset before an answer.
    Reset(Effect),
    /// The answer breaks off in its middle.
    Cut(Effect),
    /// No answer comes at all.
    Silence(Effect),
}

/// What an API says when something goes wrong.
#[derive(Clone, Copy, Debug)]
pub struct Statuses {
    /// It is down, or what is behind it cannot be reached: nothing was done.
    pub down: u16,
    /// Of a write: something is wrong with it, and part of it may have been done; it cannot be done at all.
    pub refused: [u16; 2],
    /// A relay gave up: nobody knows what was done.
    pub gave_up: u16,
    /// Of a read.
    pub unread: u16,
}

impl Fate {
    /// Draws one, with the statuses of an API.
    pub fn draw(weather: &Weather, statuses: &Statuses, is_write: bool, rng: &mut Rng) -> Fate {
        let Statuses { down, refused, gave_up, unread } = *statuses;
        if weather.outage {
            return match rng.u8(..3) {
                0 => Fate::GivenUp(down, Effect::Never),
                1 => Fate::GivenUp(503, Effect::Never),
                _ => Fate::Reset(Effect::Never),
            };
        }
        // A write that is refused in calm weather too: people mistype.
        if is_write && rng.u8(..20) == 0 {
            let done = if rng.bool() { Effect::Before } else { Effect::Never };
            let [first, second] = refused;
            return [
                Fate::Refused(400, done),
                Fate::Refused(first, done),
                Fate::Refused(403, Effect::Never),
                Fate::Refused(second, Effect::Never),
            ][rng.usize(..4)];
        }
        if is_write && weather.lost && rng.bool() {
            return [
                Fate::Reset(Effect::Later),
                Fate::GivenUp(gave_up, Effect::Later),
                Fate::Silence(Effect::Later),
            ][rng.usize(..3)];
        }
        if rng.f32() >= weather.fault {
            return Fate::Answered;
        }
        let effect = [Effect::Never, Effect::Before, Effect::Later][rng.usize(..3)];
        match rng.u8(..9) {
            0..3 => Fate::Reset(effect),
            3..5 => Fate::GivenUp(gave_up, effect),
            5 => Fate::GivenUp(504, effect),
            6 => Fate::Cut(Effect::Before),
            7 if !is_write => Fate::Refused(unread, Effect::Never),
            7 => Fate::GivenUp(down, Effect::Never),
            _ => Fate::Silence(effect),
        }
    }
}
