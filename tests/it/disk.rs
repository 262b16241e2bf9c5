//! What the store on disk brings back, to whom, and what it never does. A kill is a copy of its directory at
//! that moment: what a killed process leaves is what its system calls have written.

use std::path::Path;

use crate::support::{Gate, Options, Reply, Rig, until};

const WATCHED: &str = "/api2/json/sie/9";
const CHANGED: &str = "/api2/json/item/1/sub";
const STALE: &str = "fwd=stale; detail=stale-if-error";

/// A rig whose entries are on disk too.
struct Kept {
    rig: Rig,
    apis: Vec<String>,
    disk: tempfile::TempDir,
}

impl Kept {
    async fn start() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let disk = tempfile::tempdir().expect("a directory");
        let apis = options.apis.clone();
        let rig = Rig::with(Options { disk: Some(disk.path().into()), ..options }).await;
        let own = rig.origins.iter().map(|origin| format!("http://{}", origin.address));
        Self { apis: apis.into_iter().chain(own).collect(), rig, disk }
    }

    /// Waits until `n` entries and what `who` credentials were accepted for are on disk.
    async fn written(&self, n: usize, who: usize) {
        let wanted = format!("forebay_disk_entries {n}\n");
        until(&wanted, || self.rig.app.shared().registry.render().contains(&wanted)).await;
        self.rig.seconds(1).await;
        until("acceptances", || accepted(self.disk.path()) >= who).await;
    }

    /// The next process, if this one is killed now.
    async fn killed(&self) -> Kept {
        self.killed_with("").await
    }

    async fn killed_with(&self, upstream: &str) -> Kept {
        let disk = tempfile::tempdir().expect("a directory");
        copy(self.disk.path(), disk.path());
        self.next(disk, upstream, crate::support::RULES).await
    }

    async fn next(&self, disk: tempfile::TempDir, upstream: &str, rules: &str) -> Kept {
        let options = Options {
            disk: Some(disk.path().into()),
            apis: self.apis.clone(),
            clock: self.rig.clock.clone(),
            upstream: upstream.into(),
            rules: rules.into(),
            ..Options::default()
        };
        Kept { apis: self.apis.clone(), rig: Rig::with(options).await, disk }
    }

    async fn answer(&self, target: &str, token: &str) -> (u16, String) {
        let got = self.rig.get(target).token(token).send().await;
        (got.status, got.cache().to_owned())
    }

    /// Asserts that nothing of before is shown in place of an outage.
    async fn has_lost(&self, target: &str, token: &str, why: &str) {
        let (status, cache) = self.answer(target, token).await;
        assert_eq!(status, 503, "{why}: {cache}");
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("readable") {
        let path = entry.expect("readable").path();
        let name = path.file_name().expect("a file has a name");
        if let Err(error) = std::fs::copy(&path, to.join(name)) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "it was just being replaced");
        }
    }
}

/// How many credentials the table in `disk` tells of: its last rows, of 128 bytes each.
fn accepted(disk: &Path) -> usize {
    let table = std::fs::read(disk.join("table")).expect("there");
    table[table.len() - 8192 * 128..]
        .chunks(128)
        .filter(|row| row[..64].iter().any(|byte| *byte != 0))
        .count()
}

fn down() -> Reply {
    Reply::status(503, "Service Unavailable")
}

#[tokio::test]
async fn watchers_get_the_last_known_state_with_its_age_until_its_time_is_over() {
    let kept = Kept::start().await;
    let rig = &kept.rig;
    let old = rig.get(WATCHED).send().await;
    rig.get(WATCHED).token("actor").send().await;
    rig.get(WATCHED).token("stranger").send().await;
    kept.written(3, 3).await;
    rig.ask("POST", "/api2/json/item/7").token("actor").send().await;
    rig.seconds(20).await;
    rig.origin().on(&format!("GET {WATCHED}"), down());
    let next = kept.killed().await;
    let got = next.rig.get(WATCHED).send().await;
    assert_eq!(got.cache(), "fwd=stale; fwd-status=503; detail=stale-if-error");
    assert_eq!((got.text(), got.field("age"), got.status), (old.text(), Some("21"), 200));
    assert_eq!((got.field("etag").is_some(), &got.reason), (true, &old.reason));
    next.has_lost(WATCHED, "actor", "it wrote").await;
    next.has_lost(WATCHED, "new", "the API never accepted it").await;
    assert_eq!(next.answer(WATCHED, "stranger").await.0, 200);
    // Through steps of the wall clock, and through another restart.
    next.rig.clock.step_wall(1);
    next.rig.seconds(3000).await;
    let third = next.killed_with("accept_for: 2h").await;
    assert_eq!(third.rig.get(WATCHED).send().await.field("age"), Some("3021"));
    third.rig.seconds(600).await;
    third.has_lost(WATCHED, "one", "an hour past its lifetime").await;
}

#[tokio::test]
async fn with_the_api_up_nothing_is_fresh_and_only_watchers_get_it_while_it_is_refreshed() {
    let kept = Kept::start().await;
    let rig = &kept.rig;
    let swr = "/api2/json/swr/1";
    for token in ["one", "actor"] {
        rig.get(swr).token(token).send().await;
        rig.get(WATCHED).token(token).send().await;
    }
    kept.written(4, 2).await;
    rig.ask("POST", "/api2/json/item/7").token("actor").send().await;
    let next = kept.killed().await;
    let (before, calls) =
        (rig.origin().count(&format!("GET {swr}")), rig.origin().count(&format!("GET {WATCHED}")));
    let (status, cache) = next.answer(swr, "one").await;
    assert_eq!((status, cache.as_str()), (200, "hit; ttl=0; detail=stale-while-revalidate"));
    next.rig.quiet().await;
    assert_eq!(rig.origin().count(&format!("GET {swr}")), before + 1);
    assert!(next.answer(swr, "one").await.1.starts_with("hit; ttl=10"), "what was refreshed is fresh");
    assert_eq!(next.answer(swr, "actor").await.1, "fwd=stale; stored");
    assert_eq!(next.answer(WATCHED, "one").await.1, "fwd=stale; stored");
    assert_eq!(rig.origin().count(&format!("GET {WATCHED}")), calls + 1);
    // What never may be stale is not on disk at all.
    rig.warm("/api2/json/item/5").await;
    kept.written(4, 2).await;
}

#[tokio::test]
async fn what_was_overtaken_is_gone_for_good_from_the_moment_that_its_answer_tells() {
    let kept = Kept::start().await;
    let rig = &kept.rig;
    for n in 1..=6 {
        rig.get(&format!("/api2/json/item/{n}/sub")).send().await;
    }
    rig.get(WATCHED).send().await;
    kept.written(7, 1).await;
    for n in 1..=6 {
        rig.origin().on(&format!("GET /api2/json/item/{n}/sub"), down());
    }
    rig.origin().on(&format!("GET {WATCHED}"), down());
    rig.ask("POST", "/api2/json/item/1").token("w").send().await;
    let after_a_write = kept.killed().await;
    // Refused, and so nothing happened.
    rig.origin().on("POST /api2/json/item/2", Reply::status(403, "No"));
    rig.ask("POST", "/api2/json/item/2").token("w").send().await;
    let gate = Gate::new();
    rig.origin().on("POST /api2/json/item/3", Reply::body("{}").held(&gate));
    let writing = rig.ask("POST", "/api2/json/item/3").token("w").spawn();
    rig.origin().came("POST /api2/json/item/3", 1).await;
    until("what is being written is noted", || {
        kept.rig.app.shared().groups.lasting(place(&kept.rig, "item/3")) == u64::MAX
    })
    .await;
    // The table is written behind the one that asks, who waits for it only with the answer.
    rig.ask("POST", "/api2/json/item/4").token("w").send().await;
    let in_a_write = kept.killed().await;
    gate.open();
    writing.await.expect("answered");
    rig.origin().on(WATCHED_CALL, Reply::status(404, "Gone"));
    rig.seconds(11).await;
    assert_eq!(rig.get(WATCHED).send().await.status, 404);
    rig.origin().on(WATCHED_CALL, down());
    let after_a_refusal = kept.killed().await;
    for (next, lost) in
        [(&after_a_write, &[1][..]), (&in_a_write, &[1, 3, 4]), (&after_a_refusal, &[1, 3, 4])]
    {
        for n in 1..=6 {
            let (status, cache) = next.answer(&format!("/api2/json/item/{n}/sub"), "one").await;
            assert_eq!(status != 200, lost.contains(&n), "{n} after {lost:?}: {cache}");
        }
    }
    let (status, cache) = in_a_write.answer(WATCHED, "one").await;
    assert_eq!(status, 200, "{cache}");
    after_a_refusal.has_lost(WATCHED, "one", "the API said that it is gone").await;
}

const WATCHED_CALL: &str = "GET /api2/json/sie/9";

fn place(rig: &Rig, group: &str) -> usize {
    use forebay::cache::groups::GroupName;
    let groups = &rig.app.shared().groups;
    (0..forebay::cache::groups::SLOTS)
        .find(|place| format!("{:?}", groups.id(0, GroupName::Named(group))) == format!("GroupId({place})"))
        .expect("a place in the table")
}

#[tokio::test]
async fn a_purge_reaches_the_disk() {
    let purges = [
        (r#"{"path": "/api2/json/sie/*"}"#, 2, 1),
        (r#"{"groups": ["item/1"]}"#, 1, 2),
        (r#"{"all": true}"#, 3, 0),
        (r#"{"path": "*", "soft": true}"#, 3, 3),
    ];
    for (purge, said, left) in purges {
        let kept = Kept::start().await;
        let paths = [WATCHED, "/api2/json/sie/2", CHANGED];
        for path in paths {
            kept.rig.get(path).send().await;
            kept.rig.origin().on(&format!("GET {path}"), down());
        }
        kept.written(3, 1).await;
        let purged = admin(&kept.rig, "POST", "/api/purge", purge).await;
        assert_eq!(purged["purged"], said, "{purge}");
        let next = kept.killed().await;
        let mut found = 0;
        for path in paths {
            found += usize::from(next.answer(path, "one").await.0 == 200);
        }
        assert_eq!(found, left, "{purge}");
        // What only the disk has is purged too.
        let again = kept.killed().await;
        admin(&again.rig, "POST", "/api/purge", r#"{"path": "/api2/json/*"}"#).await;
        for path in paths {
            again.has_lost(path, "one", purge).await;
        }
    }
}

async fn admin(rig: &Rig, method: &str, target: &str, body: &str) -> serde_json::Value {
    let address = rig.app.admin_address().expect("it has one");
    let ask = crate::support::Ask::new(address, method, target).anonymous().field("Host", "localhost");
    let ask = ask.field("Content-Type", "application/json");
    let got = ask.body(body).send().await;
    assert_eq!(got.status, 200, "{}", got.text());
    serde_json::from_str(got.text()).expect("JSON")
}

#[tokio::test]
async fn credentials_are_accepted_as_long_as_they_would_have_been() {
    let kept = Kept::start().await;
    kept.rig.get(WATCHED).send().await;
    kept.written(1, 1).await;
    let ends = tempfile::tempdir().expect("a directory");
    copy(kept.disk.path(), ends.path());
    kept.rig.origin().on(WATCHED_CALL, Reply::reset());
    // While the API gives no answer time stands still, also over a restart.
    kept.rig.seconds(11).await;
    assert_eq!(kept.answer(WATCHED, "one").await, (200, STALE.to_owned()));
    kept.rig.seconds(300).await;
    // It is noted soon, but nothing tells when.
    let (mut tries, mut found) = (0..200, (0, String::new()));
    while found != (200, STALE.to_owned()) && tries.next().is_some() {
        let killed = tempfile::tempdir().expect("a directory");
        copy(kept.disk.path(), killed.path());
        found = kept.next(killed, "", crate::support::RULES).await.answer(WATCHED, "one").await;
    }
    assert_eq!(found, (200, STALE.to_owned()));
    // What the process before did not know to be silent counts.
    let late = kept.next(ends, "", crate::support::RULES).await;
    assert_eq!(late.answer(WATCHED, "one").await.0, 502);
}

#[tokio::test]
async fn a_refused_credential_and_one_that_a_write_to_rights_ended_stay_so() {
    let rules = format!(
        "{}  - {{methods: [PUT], path: \"/api2/{{format}}/access/acl\", invalidates: [acceptances]}}\n",
        crate::support::RULES
    );
    let kept = Kept::with(Options { rules: rules.clone(), ..Options::default() }).await;
    for token in ["one", "two", "three"] {
        kept.rig.get(WATCHED).token(token).send().await;
    }
    kept.written(3, 3).await;
    kept.rig.origin().on("GET /api2/json/passed/1", Reply::status(401, "No ticket"));
    kept.rig.get("/api2/json/passed/1").token("two").send().await;
    let refused = tempfile::tempdir().expect("a directory");
    copy(kept.disk.path(), refused.path());
    kept.rig.ask("PUT", "/api2/json/access/acl").token("three").send().await;
    let ended = tempfile::tempdir().expect("a directory");
    copy(kept.disk.path(), ended.path());
    kept.rig.origin().on(WATCHED_CALL, down());
    let next = kept.next(refused, "", &rules).await;
    assert_eq!(next.answer(WATCHED, "one").await.0, 200);
    next.has_lost(WATCHED, "two", "refused").await;
    let next = kept.next(ended, "", &rules).await;
    next.has_lost(WATCHED, "one", "all were ended").await;
}

#[tokio::test]
async fn an_orderly_end_leaves_everything_and_other_rules_find_nothing() {
    let kept = Kept::start().await;
    kept.rig.get(WATCHED).send().await;
    kept.rig.origin().on(WATCHED_CALL, down());
    let Kept { rig: Rig { app, clock, origins, .. }, apis, disk } = kept;
    app.drain().await;
    let start = async |from: &Path, rules: &str, apis: &[String]| {
        let disk = tempfile::tempdir().expect("a directory");
        copy(from, disk.path());
        let options = Options {
            disk: Some(disk.path().into()),
            apis: apis.to_vec(),
            clock: clock.clone(),
            rules: rules.into(),
            ..Options::default()
        };
        Kept { apis: apis.to_vec(), rig: Rig::with(options).await, disk }
    };
    let rules = crate::support::RULES;
    let same = start(disk.path(), rules, &apis).await;
    assert_eq!(same.answer(WATCHED, "one").await.0, 200);
    // The rule goes, while the process runs, and comes back after a restart.
    let other = rules.replace("sie/{id}\", ttl: 10s", "sie/{id}\", ttl: 11s");
    std::fs::write(same.rig.directory.path().join("rules.yaml"), &other).expect("writable");
    same.rig.app.reload_file().await.expect("other rules");
    let back = start(same.disk.path(), rules, &apis).await;
    back.has_lost(WATCHED, "one", "writes in between were judged by other rules").await;
    let changed = start(disk.path(), &other, &apis).await;
    changed.has_lost(WATCHED, "one", "another meaning").await;
    // Another API under the same name.
    let elsewhere = crate::support::Origin::start().await;
    elsewhere.on(WATCHED_CALL, down());
    let moved = start(disk.path(), rules, &[format!("http://{}", elsewhere.address)]).await;
    moved.has_lost(WATCHED, "one", "another API").await;
    drop(origins);
}

#[tokio::test]
async fn nothing_secret_is_written_and_a_rule_may_keep_its_answers_off_the_disk() {
    let rules = crate::support::RULES.replace("sie/{id}\", ttl: 10s", "sie/{id}\", ttl: 10s, disk: false");
    let kept = Kept::with(Options { rules, ..Options::default() }).await;
    kept.rig.get(WATCHED).token("sesame").send().await;
    kept.rig.get("/api2/json/item/1/sub?vncticket=sesame").token("sesame").send().await;
    kept.rig.get("/api2/json/item/1/sub?view=sesame-seed").token("sesame").send().await;
    kept.written(1, 1).await;
    let mut shown = 0;
    for entry in std::fs::read_dir(kept.disk.path()).expect("readable") {
        let path = entry.expect("readable").path();
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o600, "{}", path.display());
        let bytes = std::fs::read(&path).expect("readable");
        for (at, _) in bytes.windows(6).enumerate().filter(|(_, window)| window == b"sesame") {
            assert_eq!(&bytes[at..at + 11], b"sesame-seed", "{}", path.display());
            shown += 1;
        }
    }
    assert_eq!(shown, 1, "the search finds what is there");
}

#[tokio::test]
async fn the_list_says_what_is_served_stale_since_when_and_why() {
    let rig = Rig::start().await;
    rig.get(WATCHED).send().await;
    rig.get("/api2/json/sie/2").send().await;
    rig.get("/api2/json/swr/1").send().await;
    rig.seconds(12).await;
    assert_eq!(admin(&rig, "GET", "/api/entries?stale=true", "").await["total"], 0, "nobody was given any");
    rig.origin().on(WATCHED_CALL, down());
    rig.origin().on("GET /api2/json/sie/2", Reply::reset());
    rig.origin().on("GET /api2/json/swr/1", down());
    for path in [WATCHED, "/api2/json/sie/2", "/api2/json/swr/1"] {
        assert_eq!(rig.get(path).send().await.status, 200, "{path}");
    }
    rig.quiet().await;
    rig.seconds(5).await;
    rig.get("/api2/json/sie/2").send().await;
    let shown = admin(&rig, "GET", "/api/entries?stale=true", "").await;
    let one = |n: usize| &shown["entries"][n];
    assert_eq!(shown["total"], 3, "{shown}");
    assert_eq!(
        (one(1)["target"].as_str(), &one(1)["age"], &one(1)["ttl"]),
        (Some(WATCHED), &17.into(), &(-7).into())
    );
    let served = |n: usize| one(n)["served_stale"].clone();
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    assert_eq!(
        served(1),
        json(r#"{"since": 5, "last": 5, "why": "stale-if-error", "status": 503, "left": 3593}"#)
    );
    assert_eq!(
        served(0),
        json(r#"{"since": 5, "last": 0, "why": "stale-if-error", "status": null, "left": 3593}"#)
    );
    assert_eq!(
        served(2),
        json(r#"{"since": 5, "last": 5, "why": "stale-while-revalidate", "status": null, "left": 0}"#)
    );
    // Fetched anew it is in the list no more.
    rig.origin().on(WATCHED_CALL, Reply::body("{}"));
    rig.seconds(5).await;
    assert_eq!(rig.get(WATCHED).send().await.cache(), "fwd=stale; stored");
    assert_eq!(admin(&rig, "GET", "/api/entries?stale=true&path=*sie*", "").await["total"], 1);
    rig.finish().await;
}

#[tokio::test]
async fn a_store_that_cannot_be_used_costs_hits_and_never_an_answer() {
    let errors =
        |rig: &Rig, kind: &str| rig.counter_of("forebay_disk_errors_total", &format!("kind=\"{kind}\""));
    let serves = async |rig: &Rig| {
        rig.warm("/api2/json/item/1").await;
        assert_eq!(rig.ask("POST", "/api2/json/item/1").send().await.status, 200);
    };
    let kept = Kept::start().await;
    kept.rig.get(WATCHED).send().await;
    kept.written(1, 1).await;
    let used = Rig::with(Options { disk: Some(kept.disk.path().into()), ..Options::default() }).await;
    serves(&used).await;
    // Once at the start, and the attempts to empty it change nothing for whoever has it.
    assert_eq!(errors(&used, "locked"), 1);
    used.finish().await;
    kept.rig.origin().on(WATCHED_CALL, down());
    assert_eq!(kept.killed().await.answer(WATCHED, "one").await.0, 200);
    let nowhere = Rig::with(Options { disk: Some("/proc/forebay".into()), ..Options::default() }).await;
    serves(&nowhere).await;
    assert_eq!(errors(&nowhere, "missing"), 1);
    nowhere.finish().await;
    for (file, damage) in [("table", 70), ("layout", 3), ("secret", 16)] {
        let damaged = tempfile::tempdir().expect("a directory");
        copy(kept.disk.path(), damaged.path());
        let path = damaged.path().join(file);
        let mut bytes = std::fs::read(&path).expect("there");
        bytes.resize(bytes.len() + 1, 0);
        bytes[damage] ^= 1;
        std::fs::write(&path, bytes).expect("writable");
        let next = kept.next(damaged, "", crate::support::RULES).await;
        next.has_lost(WATCHED, "one", file).await;
        serves(&next.rig).await;
        assert_eq!(errors(&next.rig, "corrupt"), 1, "{file}");
        assert!(next.disk.path().join("unusable").exists(), "{file} was put aside");
    }
    // The directory goes while it is used.
    let Kept { rig, disk, .. } = kept;
    std::fs::remove_dir_all(disk.path()).expect("ours");
    serves(&rig).await;
    // Its upstream has served the others too, so the calls are not compared.
    rig.app.drain().await;
}
