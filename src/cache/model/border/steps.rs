//! What may happen at the border, step by step, and what must hold after each.

use super::*;

impl World<'_> {
    pub(super) fn run(&mut self) -> Result<(), String> {
        for _ in 0..MOST_STEPS {
            if self.machines.is_empty() {
                return match self.core.flights.is_empty() {
                    true => Ok(()),
                    false => Err("a flight is left".into()),
                };
            }
            let machine = self.machines.swap_remove(self.random.usize(..self.machines.len()));
            let next = self.step(machine)?;
            self.machines.extend(next);
            let stored = self.memory.get(self.key).map(|entry| entry.sequence());
            if stored < self.newest_stored {
                return Err("an entry replaced a newer one".into());
            }
            self.newest_stored = stored;
        }
        Err("somebody hangs".into())
    }

    fn mutated(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    fn is_accepted(&self, who: usize) -> bool {
        self.acceptance.is_accepted(0, self.who[who], NOW, Duration::MAX)
    }

    fn company(&self, who: usize) -> Company {
        match self.is_accepted(who) || self.mutated(Mutation::UnacceptedJoins) {
            true => Company::Shared,
            false => Company::Own,
        }
    }

    /// The API refused `who`. What it fetches for itself is overtaken, unless nothing was known of it.
    fn refuse(&mut self, who: usize) {
        if self.acceptance.refuse(0, self.who[who]).was_known {
            self.groups.invalidate(&[self.core.ids[1 + who]]);
            if who == OTHER {
                self.told.get_or_insert(Told::ByRefusal);
            }
        }
    }

    /// What the store has for `who`.
    fn hit(&self, who: usize) -> bool {
        let entry = self.memory.get(self.key);
        let is_current = entry.is_some_and(|entry| self.groups.is_current(entry.sequence(), entry.groups()));
        is_current && (self.is_accepted(who) || self.mutated(Mutation::ClaimTrusted))
    }

    fn is_gone(&self, who: usize) -> bool {
        who == FORGED || who == OTHER && self.told.is_some()
    }

    /// `who` gets `said`, which others fetched if not `own`.
    fn got(&self, who: usize, said: Said, own: bool, was_gone: bool) -> Result<(), String> {
        match said {
            Said::FailureOf(whose) if whose != who => Err(format!("ticket {who} got the failure of {whose}")),
            Said::Version if who == FORGED => Err("the forged ticket got an answer".into()),
            Said::Version if was_gone => Err("a ticket that was gone got an answer".into()),
            Said::Version if !own && who == OTHER && self.told == Some(Told::ByRefusal) => {
                Err("a refused ticket got what another fetched".into())
            }
            _ => Ok(()),
        }
    }

    fn step(&mut self, machine: Machine) -> Result<Vec<Machine>, String> {
        Ok(match machine {
            Machine::Looks(who, join) => {
                let was_gone = self.is_gone(who);
                if join == Join::Allowed && self.hit(who) {
                    self.got(who, Said::Version, false, was_gone)?;
                    return Ok(Vec::new());
                }
                vec![Machine::Begins(who, join, self.company(who), was_gone)]
            }
            Machine::Begins(who, join, company, was_gone) => self.begin(who, join, company, was_gone)?,
            Machine::Waits(who, mut waiting, was_gone) => {
                match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Pending => vec![Machine::Waits(who, waiting, was_gone)],
                    Poll::Ready(Landed::Apart) => {
                        vec![Machine::Begins(who, Join::Allowed, Company::Own, was_gone)]
                    }
                    Poll::Ready(Landed::Body { said: Some(said), is_owner }) => {
                        let asked = is_owner || self.is_accepted(who);
                        let unasked = [Mutation::HandedUnasked, Mutation::UnacceptedJoins];
                        if !asked && !unasked.iter().any(|mutation| self.mutated(*mutation)) {
                            return Ok(vec![Machine::Begins(who, Join::Allowed, Company::Own, was_gone)]);
                        }
                        self.got(who, said, is_owner, was_gone)?;
                        Vec::new()
                    }
                    Poll::Ready(Landed::Failed { is_owner: false }) => {
                        return Err(format!("ticket {who} got the failure of another"));
                    }
                    Poll::Ready(Landed::Failed { .. } | Landed::Body { said: None, .. }) => Vec::new(),
                }
            }
            Machine::Fetches(who, fate, fill) => {
                let refused = who == FORGED || who == OTHER && self.revoked;
                let said = match refused || fate == Fate::Condemned {
                    true => Said::FailureOf(who),
                    false => Said::Version,
                };
                vec![Machine::Ends(who, said, fate, fill)]
            }
            Machine::Ends(who, said, fate, fill) => {
                self.end(who, said, fate, fill)?;
                Vec::new()
            }
            Machine::Revokes(told) => {
                self.revoked = true;
                vec![Machine::Tells(told)]
            }
            Machine::Tells(told) => {
                match told {
                    Told::ByWrite if self.mutated(Mutation::RightsKeepAcceptances) => {
                        self.groups.invalidate(&[self.core.ids[0]]);
                    }
                    Told::ByWrite => {
                        self.groups.invalidate(&[self.core.ids[0], self.acceptances]);
                    }
                    Told::ByRefusal => {
                        self.refuse(OTHER);
                        return Ok(Vec::new());
                    }
                }
                self.told = Some(told);
                Vec::new()
            }
        })
    }

    fn begin(
        &mut self,
        who: usize,
        join: Join,
        company: Company,
        was_gone: bool,
    ) -> Result<Vec<Machine>, String> {
        // Who claims to be the leader is told what the leader is.
        let named = if self.mutated(Mutation::FailureCrosses) { ONE } else { who };
        let passenger = Passenger { who: self.who[named], company, join, form: 0 };
        let begun = self.core.flights.begin(
            self.key,
            self.groups,
            passenger,
            || match company {
                Company::Shared => self.core.groups_of(&[0]),
                Company::Own => self.core.groups_of(&[0, 1 + who]),
            },
            || self.memory.get(self.key).filter(|_| self.hit(who)),
        );
        let wait = |waiter: Waiter<NoAnswer>| {
            let is_owner = waiter.is_owner();
            let landing = async move {
                match waiter.landing().await {
                    Landing::Shared(_, _, body) => {
                        let body = body.collect().await.ok().map(|body| body.to_bytes());
                        let said = body.map(|body| match body[..] {
                            [b'f', whose, ..] => Said::FailureOf(whose.into()),
                            _ => Said::Version,
                        });
                        Landed::Body { said, is_owner }
                    }
                    Landing::Apart => Landed::Apart,
                    Landing::Alone | Landing::Failed(NoAnswer) => Landed::Failed { is_owner },
                }
            };
            Machine::Waits(who, Box::pin(landing), was_gone)
        };
        Ok(match begun {
            Begin::Stored(_) => {
                self.got(who, Said::Version, false, was_gone)?;
                Vec::new()
            }
            Begin::Joined(waiter) => vec![wait(waiter)],
            Begin::Leads(fill, waiter) => {
                let fates =
                    [Fate::Whole, Fate::Whole, Fate::Judged, Fate::Condemned, Fate::Fails, Fate::Lost];
                let fate = fates[self.random.usize(..fates.len())];
                vec![wait(waiter), Machine::Fetches(who, fate, fill)]
            }
            Begin::Full => return Err("a flight of a few readers is full".into()),
        })
    }

    /// An answer arrives: what it tells of its credential, and who gets it.
    fn end(&mut self, who: usize, said: Said, fate: Fate, fill: Fill<NoAnswer>) -> Result<(), String> {
        match fate {
            Fate::Fails => {
                fill.fail(NoAnswer);
                return Ok(());
            }
            Fate::Lost => return Ok(()),
            _ => {}
        }
        let is_success = said == Said::Version;
        let in_body = matches!(fate, Fate::Judged | Fate::Condemned);
        let crossing = match (in_body, is_success) {
            (true, _) if self.mutated(Mutation::UnjudgedCrosses) => Crossing::Everybody,
            (true, _) => Crossing::Undecided,
            (false, true) => Crossing::Everybody,
            (false, false) => Crossing::Owner,
        };
        fill.share(head(), Keeping::Shared, crossing);
        let body = match said {
            Said::Version => Bytes::from_static(b"version!"),
            Said::FailureOf(whose) => Bytes::copy_from_slice(&[b'f', whose as u8]),
        };
        let _nobody_may_wait = fill.push(body);
        if is_success || self.mutated(Mutation::RefusalAccepts) {
            let sequence = match self.mutated(Mutation::AcceptedAtArrival) {
                true => self.groups.next(),
                false => fill.sequence(),
            };
            let evidence = Evidence { sequence, left: NOW };
            self.acceptance.accept(0, self.who[who], evidence, acceptance::Said::default);
        } else if !in_body {
            self.refuse(who);
        }
        fill.judged(if is_success { Crossing::Everybody } else { Crossing::Owner });
        if !is_success {
            fill.finish(|| ());
            return Ok(());
        }
        let kept = entry(1, fill.sequence(), fill.groups().clone());
        fill.finish(|| match self.mutated(Mutation::ReplacesNewer) {
            true => self.memory.insert(self.key, kept),
            false => self.memory.insert_newer(self.key, kept),
        });
        Ok(())
    }
}
