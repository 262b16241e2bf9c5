//! What the simulated cluster does: tasks, locks, lag, privileges.

use super::super::{
    AUDITOR_TOKEN, AUDITOR_TOKEN_SECRET, POOL_PASSWORD, POOL_USER, POWERLESS_TOKEN, POWERLESS_TOKEN_SECRET,
    ROOT_PASSWORD, ROOT_USER,
};
use super::*;

async fn status_of(sim: &Sim, upid: &str) -> Value {
    let node = upid.split(':').nth(1).unwrap_or_default();
    get(sim, &format!("/nodes/{node}/tasks/{upid}/status")).await.data()
}

fn text(value: Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

#[tokio::test]
async fn a_task_shows_at_once_and_does_its_work_at_its_end() {
    let sim = start(still()).await;
    let upid = text(post(&sim, "/nodes/pve1/qemu/103/status/start", "").await.data());
    assert!(upid.starts_with("UPID:pve1:") && upid.ends_with(":qmstart:103:terraform@pve!tf:"), "{upid}");
    assert_eq!(status_of(&sim, &upid).await["status"], "running");
    assert_eq!(get(&sim, "/nodes/pve1/qemu/103/status/current").await.data()["status"], "stopped");
    let feed = get(&sim, "/cluster/tasks").await.data();
    assert_eq!(pick(&feed, "upid", upid.as_str())["endtime"], Value::Null);

    sim.settle();
    let ended = status_of(&sim, &upid).await;
    assert_eq!((&ended["status"], &ended["exitstatus"]), (&"stopped".into(), &"OK".into()));
    assert_eq!(get(&sim, "/nodes/pve1/qemu/103/status/current").await.data()["status"], "running");
    let feed = get(&sim, "/cluster/tasks").await.data();
    assert_eq!(pick(&feed, "upid", upid.as_str())["status"], "OK");
    let again = text(post(&sim, "/nodes/pve1/qemu/103/status/start", "").await.data());
    sim.settle();
    assert_eq!(status_of(&sim, &again).await["exitstatus"], "VM 103 already running");
    sim.stop().await;
}

#[tokio::test]
async fn tasks_end_when_their_time_has_passed() {
    let sim = start(SimConfig { task_time: Duration::ZERO, ..still() }).await;
    let upid = text(post(&sim, "/nodes/pve1/qemu/100/status/stop", "").await.data());
    assert_eq!(status_of(&sim, &upid).await["exitstatus"], "OK");
    assert_eq!(get(&sim, "/nodes/pve1/qemu/100/status/current").await.data()["status"], "stopped");
    sim.stop().await;
}

#[tokio::test]
async fn a_clone_is_listed_locked_and_nameless_before_it_is_done_and_reported() {
    let sim = start(still()).await;
    let next = text(get(&sim, "/cluster/nextid").await.data());
    assert_eq!(next, "105");
    let upid =
        text(post(&sim, "/nodes/pve1/qemu/9000/clone", "newid=105&name=fresh&target=pve2").await.data());
    let item = pick(&get(&sim, "/cluster/resources?type=vm").await.data(), "vmid", 105);
    assert_eq!(
        (&item["status"], &item["lock"], &item["name"]),
        (&"unknown".into(), &"clone".into(), &Value::Null)
    );
    assert_eq!(get(&sim, "/nodes/pve2/qemu/105/config").await.data()["lock"], "clone");
    let refused = post(&sim, "/nodes/pve2/qemu/105/status/start", "").await;
    assert_eq!((refused.status, refused.reason.as_str()), (500, "VM is locked (clone)"));
    let taken = post(&sim, "/nodes/pve1/qemu/9000/clone", "newid=105").await;
    assert!(taken.reason.contains("VM 105 already exists"), "{}", taken.reason);

    sim.settle();
    assert_eq!(status_of(&sim, &upid).await["exitstatus"], "OK");
    let item = pick(&get(&sim, "/cluster/resources?type=vm").await.data(), "vmid", 105);
    assert_eq!(
        (&item["name"], &item["status"], &item["lock"]),
        (&"fresh".into(), &"stopped".into(), &Value::Null)
    );
    let config = get(&sim, "/nodes/pve2/qemu/105/config").await.data();
    assert_eq!(config["net0"], "virtio=BC:24:11:00:00:69,bridge=vmbr0,firewall=1");
    let disk = text(config["scsi0"].clone());
    assert!(disk.starts_with("ceph-vm:vm-105-disk-0,"), "{disk}");
    sim.stop().await;
}

#[tokio::test]
async fn resources_lag_behind_what_the_nodes_say() {
    let sim = start(still()).await;
    assert!(sim.set_guest_config(100, "name", "renamed".into()));
    let name = |list: Value| pick(&list, "vmid", 100)["name"].clone();
    assert_eq!(name(get(&sim, "/nodes/pve1/qemu").await.data()), "renamed");
    assert_eq!(name(get(&sim, "/cluster/resources").await.data()), "web-1");
    sim.settle();
    assert_eq!(name(get(&sim, "/cluster/resources").await.data()), "renamed");
    sim.stop().await;
}

#[tokio::test]
async fn a_guest_lives_and_dies_where_it_is() {
    let sim = start(still()).await;
    let elsewhere = get(&sim, "/nodes/pve2/qemu/100/config").await;
    let reason = "Configuration file 'nodes/pve2/qemu-server/100.conf' does not exist";
    assert_eq!((elsewhere.status, elsewhere.reason.as_str()), (500, reason));
    assert_eq!(elsewhere.json()["message"], format!("{reason}\n"));
    post(&sim, "/nodes/pve1/qemu/100/migrate", "target=pve2&online=1").await;
    assert_eq!(get(&sim, "/nodes/pve1/qemu/100/config").await.data()["lock"], "migrate");
    sim.settle();
    assert_eq!(get(&sim, "/nodes/pve1/qemu/100/config").await.status, 500);
    assert_eq!(get(&sim, "/nodes/pve2/qemu/100/config").await.status, 200);

    let created =
        post(&sim, "/nodes/pve3/lxc", "vmid=105&hostname=ct&storage=local-lvm&memory=256&start=1").await;
    assert!(text(created.data()).contains(":vzcreate:105:"));
    sim.settle();
    assert_eq!(get(&sim, "/nodes/pve3/lxc/105/status/current").await.data()["status"], "running");
    assert_eq!(call(&sim, "DELETE", "/nodes/pve3/lxc/105", &admin(), "").await.status, 500);
    call(&sim, "DELETE", "/nodes/pve3/lxc/105?force=1", &admin(), "").await;
    sim.settle();
    assert_eq!(get(&sim, "/nodes/pve3/lxc/105/config").await.status, 500);
    sim.stop().await;
}

#[tokio::test]
async fn configuration_changes_at_once_or_waits_for_a_restart() {
    let sim = start(still()).await;
    let path = "/nodes/pve1/qemu/100";
    let before = text(get(&sim, &format!("{path}/config")).await.data()["digest"].clone());
    let put =
        call(&sim, "PUT", &format!("{path}/config"), &admin(), "tags=a%3Bb&cores=8&delete=onboot").await;
    assert_eq!((put.status, put.data()), (200, Value::Null));
    let config = get(&sim, &format!("{path}/config")).await.data();
    assert_eq!(
        (&config["tags"], &config["cores"], &config["onboot"]),
        (&"a;b".into(), &8.into(), &Value::Null)
    );
    assert_eq!(get(&sim, &format!("{path}/config?current=1")).await.data()["cores"], 4);
    assert_eq!(pick(&get(&sim, &format!("{path}/pending")).await.data(), "key", "cores")["pending"], 8);
    let stale =
        call(&sim, "PUT", &format!("{path}/config"), &admin(), &format!("cores=2&digest={before}")).await;
    assert!(stale.reason.starts_with("detected modified configuration"), "{}", stale.reason);
    post(&sim, &format!("{path}/status/reboot"), "").await;
    sim.settle();
    assert_eq!(get(&sim, &format!("{path}/config?current=1")).await.data()["cores"], 8);
    sim.stop().await;
}

#[tokio::test]
async fn a_digest_is_of_one_file() {
    let sim = start(still()).await;
    let path = "/nodes/pve1/qemu/103";
    let digests = async || {
        let config = get(&sim, &format!("{path}/config")).await.data()["digest"].clone();
        let firewall = get(&sim, &format!("{path}/firewall/options")).await.data()["digest"].clone();
        (text(config), text(firewall))
    };
    let before = digests().await;
    assert_ne!(before.0, before.1);
    call(&sim, "PUT", &format!("{path}/firewall/options"), &admin(), "enable=1").await;
    let behind = digests().await;
    assert_eq!(behind.0, before.0, "the firewall has a file of its own");
    assert_ne!(behind.1, before.1);
    call(&sim, "PUT", &format!("{path}/config"), &admin(), "cores=2").await;
    let changed = digests().await;
    assert_ne!(changed.0, before.0);
    assert_eq!(changed.1, behind.1);
    post(&sim, &format!("{path}/status/start"), "").await;
    sim.settle();
    assert_eq!(digests().await, changed, "that it runs stands in no file");
    sim.stop().await;
}

#[tokio::test]
async fn a_migrated_guest_takes_its_local_volumes_along() {
    let sim = start(still()).await;
    post(&sim, "/nodes/pve1/qemu", "vmid=110&scsi0=local-lvm%3A4").await;
    sim.settle();
    let content = async |node: &str| {
        let list = get(&sim, &format!("/nodes/{node}/storage/local-lvm/content")).await.data();
        pick(&list, "volid", "local-lvm:vm-110-disk-0") != Value::Null
    };
    assert_eq!((content("pve1").await, content("pve2").await), (true, false));
    post(&sim, "/nodes/pve1/qemu/110/migrate", "target=pve2").await;
    sim.settle();
    assert_eq!((content("pve1").await, content("pve2").await), (false, true));
    sim.stop().await;
}

#[tokio::test]
async fn the_cluster_comes_first_in_its_status() {
    let sim = start(still()).await;
    let mut orders = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let items = get(&sim, "/cluster/status").await.data();
        let names: Vec<_> =
            items.as_array().expect("a list").iter().map(|item| text(item["name"].clone())).collect();
        assert_eq!(names[0], "lab");
        orders.insert(names);
    }
    assert!(orders.len() > 1, "the nodes come in any order");
    sim.stop().await;
}

#[tokio::test]
async fn snapshots_disks_and_backups_change_what_they_should() {
    let sim = start(still()).await;
    let path = "/nodes/pve1/qemu/103";
    post(&sim, &format!("{path}/snapshot"), "snapname=one").await;
    sim.settle();
    assert_ne!(pick(&get(&sim, &format!("{path}/snapshot")).await.data(), "name", "one"), Value::Null);
    call(&sim, "PUT", &format!("{path}/resize"), &admin(), "disk=scsi0&size=%2B1G").await;
    sim.settle();
    post(&sim, &format!("{path}/move_disk"), "disk=scsi0&storage=local-lvm").await;
    sim.settle();
    let disk = text(get(&sim, &format!("{path}/config")).await.data()["scsi0"].clone());
    assert!(disk.starts_with("local-lvm:vm-103-disk-0,") && disk.ends_with(",size=129G"), "{disk}");
    let volumes = get(&sim, "/nodes/pve1/storage/local-lvm/content").await.data();
    assert_eq!(pick(&volumes, "vmid", 103)["size"], 129_u64 << 30);
    post(&sim, "/nodes/pve1/vzdump", "vmid=103&storage=nfs-iso").await;
    assert_eq!(get(&sim, &format!("{path}/config")).await.data()["lock"], "backup");
    sim.settle();
    let backups = get(&sim, "/nodes/pve2/storage/nfs-iso/content?vmid=103").await.data();
    assert_eq!(backups.as_array().map(Vec::len), Some(1));
    call(&sim, "DELETE", &format!("{path}/snapshot/one"), &admin(), "").await;
    sim.settle();
    assert_eq!(pick(&get(&sim, &format!("{path}/snapshot")).await.data(), "name", "one"), Value::Null);
    sim.stop().await;
}

#[tokio::test]
async fn a_managed_guest_is_stopped_later_by_another_user() {
    let sim = start(still()).await;
    let upid = text(post(&sim, "/nodes/pve3/qemu/102/status/stop", "").await.data());
    assert!(upid.contains(":hastop:102:terraform@pve!tf:"), "{upid}");
    sim.settle();
    let feed = get(&sim, "/cluster/tasks").await.data();
    let real = pick(&feed, "type", "qmshutdown");
    assert_eq!((&real["user"], &real["status"]), (&ROOT_USER.into(), &"OK".into()));
    assert_eq!(get(&sim, "/nodes/pve3/qemu/102/status/current").await.data()["status"], "stopped");
    sim.stop().await;
}

#[tokio::test]
async fn agents_answer_are_missing_or_are_dead_for_a_while() {
    let sim = start(still()).await;
    let path = |guest: &str| format!("/nodes/{guest}/agent/get-osinfo");
    assert_eq!(get(&sim, &path("pve1/qemu/100")).await.data()["result"]["id"], "debian");
    assert_eq!(get(&sim, &path("pve1/qemu/103")).await.reason, "VM 103 is not running");
    let started = tokio::time::Instant::now();
    assert_eq!(get(&sim, &path("pve2/qemu/104")).await.reason, "QEMU guest agent is not running");
    assert!(started.elapsed() >= still().dead_agent_delay);
    sim.stop().await;
}

#[tokio::test]
async fn lists_hold_what_the_caller_may_see() {
    let sim = start(still()).await;
    let (ticket, _) = sim.ticket(POOL_USER);
    let pool_user = format!("Authorization: PVEAuthCookie={ticket}\r\n");
    let powerless = token(POWERLESS_TOKEN, POWERLESS_TOKEN_SECRET);
    let auditor = token(AUDITOR_TOKEN, AUDITOR_TOKEN_SECRET);
    let seen = async |fields: &str| {
        let list = call(&sim, "GET", "/cluster/resources?type=vm", fields, "").await.data();
        let mut ids: Vec<_> =
            list.as_array().expect("a list").iter().map(|item| item["vmid"].as_u64()).collect();
        ids.sort();
        ids
    };
    assert_eq!(seen(&auditor).await.len(), 12);
    assert_eq!(seen(&pool_user).await, [Some(103), Some(202)]);
    assert_eq!(seen(&powerless).await, []);
    let forbidden = call(&sim, "GET", "/nodes/pve1/qemu/100/config", &powerless, "").await;
    let reason = "Permission check failed (/vms/100, VM.Audit)";
    assert_eq!((forbidden.status, forbidden.reason.as_str()), (403, reason));
    let writes = call(&sim, "POST", "/nodes/pve1/qemu/100/status/stop", &auditor, "").await;
    assert_eq!(writes.reason, "Permission check failed (/vms/100, VM.PowerMgmt)");
    let nodes = call(&sim, "GET", "/nodes", &pool_user, "").await.data();
    assert_eq!((nodes.as_array().map(Vec::len), &nodes[0]["uptime"]), (Some(3), &Value::Null));
    let own = call(&sim, "GET", "/access/permissions", &pool_user, "").await.data();
    assert_eq!((&own["/vms/103"]["VM.Audit"], &own["/pool/dev"]["VM.Audit"]), (&0.into(), &1.into()));
    assert_eq!(own["/"], Value::Null);

    // A grant shows at once.
    let grant = format!("path=/vms/100&roles=PVEAuditor&tokens={}", POWERLESS_TOKEN.replace('!', "%21"));
    assert_eq!(call(&sim, "PUT", "/access/acl", &admin(), &grant).await.status, 200);
    assert_eq!(seen(&powerless).await, [Some(100)]);
    sim.stop().await;
}

#[tokio::test]
async fn tickets_log_in_renew_and_need_the_csrf_token_to_write() {
    let sim = start(still()).await;
    let form = |user: &str, password: &str| {
        format!("username={user}&password={}", password.replace('+', "%2B").replace('=', "%3D"))
    };
    let failed = call(&sim, "POST", "/access/ticket", "", &form(POOL_USER, "wrong")).await;
    assert_eq!((failed.status, failed.reason.as_str()), (401, "authentication failure"));
    assert_eq!(failed.json()["message"], "authentication failure\n");
    let login = call(&sim, "POST", "/access/ticket", "", &form(POOL_USER, POOL_PASSWORD)).await.data();
    let ticket = text(login["ticket"].clone());
    let renewed = call(&sim, "POST", "/access/ticket", "", &form(POOL_USER, &ticket)).await;
    assert_eq!(renewed.data()["username"], POOL_USER);
    let cookie = format!("Cookie: other=1; PVEAuthCookie={}\r\n", ticket.replace('+', "%2B"));
    let path = "/nodes/pve1/qemu/103/status/start";
    let bare = call(&sim, "POST", path, &cookie, "").await;
    assert_eq!((bare.status, bare.reason.as_str()), (401, "Permission denied - invalid csrf token"));
    let csrf = format!("CSRFPreventionToken: {}\r\n", text(login["CSRFPreventionToken"].clone()));
    assert_eq!(call(&sim, "POST", path, &(cookie + &csrf), "").await.status, 200);
    assert_eq!(call(&sim, "GET", "/access/domains", "", "").await.status, 200);
    let root = call(&sim, "POST", "/access/ticket", "", &form("root", ROOT_PASSWORD)).await;
    assert_eq!(root.data()["username"], ROOT_USER);
    sim.stop().await;
}

#[tokio::test]
async fn uploads_of_any_size_become_volumes() {
    let sim = start(still()).await;
    let file = "x".repeat(700_000);
    let body = format!(
        "--b\r\nContent-Disposition: form-data; name=\"content\"\r\n\r\niso\r\n--b\r\nContent-Disposition: \
         form-data; name=\"filename\"; filename=\"a.iso\"\r\nContent-Type: application/octet-stream\r\n\r\n{file}\r\n--b--\r\n"
    );
    let fields = format!("{}Content-Type: multipart/form-data; boundary=b\r\n", admin());
    let answer = call(&sim, "POST", "/nodes/pve2/storage/local/upload", &fields, &body).await;
    assert!(text(answer.data()).starts_with("UPID:pve1:"), "the node that was asked runs it");
    assert_eq!(answer.all("connection"), ["close"]);
    sim.settle();
    let files = get(&sim, "/nodes/pve2/storage/local/content?content=iso").await.data();
    assert_eq!(pick(&files, "volid", "local:iso/a.iso")["size"], 700_000);
    sim.stop().await;
}

#[tokio::test]
async fn parameters_are_verified_and_members_of_pools_change() {
    let sim = start(still()).await;
    let wrong = post(&sim, "/nodes/pve1/qemu/9000/clone", "newid=abc").await;
    assert_eq!((wrong.status, wrong.reason.as_str()), (400, "Parameter verification failed."));
    assert_eq!(wrong.json()["errors"]["newid"], "type check ('integer') failed - got 'abc'");
    let taken = get(&sim, "/cluster/nextid?vmid=100").await;
    assert_eq!(taken.json()["errors"]["vmid"], "VM 100 already exists");
    call(&sim, "PUT", "/pools/dev", &admin(), "vms=104").await;
    let members = get(&sim, "/pools/dev").await.data()["members"].clone();
    assert_eq!(pick(&members, "vmid", 104)["node"], "pve2");
    let behind = sim.change_behind(ROOT_USER, "PUT", "/pools/dev", &[("vms", "104"), ("delete", "1")]);
    assert_eq!(behind, Ok(Value::Null));
    let refused = sim.change_behind(POWERLESS_TOKEN, "PUT", "/pools/dev", &[]);
    assert_eq!(refused, Err((403, "Permission check failed (/pool/dev, Pool.Allocate)".to_owned())));
    sim.stop().await;
}
