//! Storages and what is on them: `/storage`, `/nodes/{node}/storage` and the reads below.

use serde_json::{Value, json};

use super::answer::{Failure, Outcome, Reply};
use super::call::{Call, Method};
use super::cluster::index;
use super::model::{Object, Storage, Volume};
use super::resources::{sees_storage, used};
use super::sha1;
use super::state::Cluster;
use super::storage_writes;

/// The `size=` option of a disk in bytes.
pub(super) fn disk_size(disk: &str) -> Option<u64> {
    let text = disk.split(',').find_map(|option| option.strip_prefix("size="))?;
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = match unit {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    Some(number.parse::<u64>().ok()? << shift)
}

/// A number of bytes as disks write it.
pub(super) fn size_text(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 30) { format!("{}G", bytes >> 30) } else { format!("{}M", bytes >> 20) }
}

/// `/storage` and below: definitions.
pub(super) fn route(cluster: &mut Cluster, call: &Call, rest: &[&str]) -> Outcome {
    match (call.method, rest) {
        (Method::Get, []) => {
            let wanted = |storage: &&Storage| call.get("type").is_none_or(|kind| storage.kind == kind);
            let known = cluster.storages.values().filter(wanted);
            let seen = known.filter(|storage| sees_storage(cluster, call, &storage.name));
            Ok(Reply::list(seen.map(|storage| definition(cluster, storage)).collect()))
        }
        (Method::Get, [name]) => {
            cluster.check(
                &call.who,
                &format!("/storage/{name}"),
                &["Datastore.Allocate", "Datastore.Audit"],
            )?;
            Ok(Reply::data(definition(cluster, known(cluster, name)?)))
        }
        _ => {
            cluster.check(&call.who, "/storage", &["Datastore.Allocate"])?;
            storage_writes::definition(cluster, call, rest)
        }
    }
}

/// A storage by its name, or the error about it.
pub(super) fn known<'a>(cluster: &'a Cluster, name: &str) -> Result<&'a Storage, Failure> {
    let missing = || Failure::die(format!("storage '{name}' does not exist"));
    cluster.storages.get(name).ok_or_else(missing)
}

fn definition(cluster: &Cluster, storage: &Storage) -> Value {
    let names: Vec<_> = cluster.storages.values().map(|known| (&known.name, &known.content)).collect();
    let mut view = storage.properties.clone();
    view.extend(Object::from_iter([
        ("storage".to_owned(), storage.name.as_str().into()),
        ("type".to_owned(), storage.kind.as_str().into()),
        ("content".to_owned(), storage.content.as_str().into()),
        ("digest".to_owned(), sha1::hex(format!("{names:?}").as_bytes()).into()),
    ]));
    if storage.shared {
        view.insert("shared".to_owned(), 1.into());
    }
    view.into()
}

/// `/nodes/{node}/storage` and below; `rest` is what follows.
pub(super) fn on_node(cluster: &mut Cluster, call: &Call, node: usize, rest: &[&str]) -> Outcome {
    let [name, below @ ..] = rest else {
        if call.method != Method::Get {
            return Err(Failure::not_implemented(call.method.name(), &call.path));
        }
        return Ok(Reply::list(list(cluster, call, node)));
    };
    if call.method != Method::Get {
        return storage_writes::on_node(cluster, call, node, name, below);
    }
    let any_of = ["Datastore.Audit", "Datastore.AllocateSpace"];
    cluster.check(&call.who, &format!("/storage/{name}"), &any_of)?;
    let storage = known(cluster, name)?;
    match below {
        [] => Ok(index(&[
            "content",
            "download-url",
            "file-restore",
            "prunebackups",
            "rrddata",
            "status",
            "upload",
        ])),
        ["status"] => Ok(Reply::data(status(cluster, storage, node))),
        ["content"] => Ok(Reply::list(content(cluster, call, name, node))),
        ["content", volume @ ..] => {
            let id = volume_id(name, volume);
            let place = cluster.volume_place(name, node);
            let volume = cluster.volumes.get(&place).and_then(|volumes| volumes.get(&id));
            let volume = volume.ok_or_else(|| Failure::die(format!("volume '{id}' does not exist")))?;
            Ok(Reply::data(json!({"path": format!("/mnt/{id}"), "size": volume.size, "used": volume.size,
                "format": volume.format})))
        }
        ["rrddata"] => {
            let (wall, used) = (cluster.wall(call.now), used(cluster, storage, node));
            let points = (0..70).map(
                |at| json!({"time": wall / 60 * 60 - (70 - at) * 60, "total": storage.total, "used": used}),
            );
            Ok(Reply::data(points.collect::<Value>()))
        }
        ["prunebackups"] => Ok(Reply::list(Vec::new())),
        _ => Err(Failure::not_implemented(call.method.name(), &call.path)),
    }
}

/// The volume that the end of a path names, with or without its storage in front.
pub(super) fn volume_id(storage: &str, path: &[&str]) -> String {
    let joined = path.join("/");
    if joined.contains(':') { joined } else { format!("{storage}:{joined}") }
}

fn status(cluster: &Cluster, storage: &Storage, node: usize) -> Value {
    let used = used(cluster, storage, node);
    json!({"type": storage.kind, "content": storage.content, "active": 1, "enabled": 1,
        "shared": u8::from(storage.shared), "total": storage.total, "used": used, "avail": storage.total - used})
}

fn list(cluster: &Cluster, call: &Call, node: usize) -> Vec<Value> {
    let wanted = |storage: &&Storage| {
        call.get("storage").is_none_or(|name| storage.name == name)
            && call
                .get("content")
                .is_none_or(|content| content.split(',').any(|c| storage.content.contains(c)))
    };
    let seen =
        cluster.storages.values().filter(wanted).filter(|storage| sees_storage(cluster, call, &storage.name));
    let items = seen.map(|storage| {
        let mut view = status(cluster, storage, node);
        view["storage"] = storage.name.as_str().into();
        view["used_fraction"] = (used(cluster, storage, node) as f64 / storage.total as f64).into();
        view
    });
    items.collect()
}

fn content(cluster: &Cluster, call: &Call, name: &str, node: usize) -> Vec<Value> {
    let place = cluster.volume_place(name, node);
    let wanted = |volume: &&Volume| {
        call.get("content").is_none_or(|content| volume.content == content)
            && call.get("vmid").is_none_or(|vmid| volume.vmid.is_some_and(|known| known.to_string() == vmid))
    };
    let sees = |volume: &&Volume| {
        volume.vmid.is_none_or(|vmid| {
            let path = format!("/vms/{vmid}");
            cluster.allowed(&call.who, &path, &["VM.Audit", "VM.Backup"])
        }) || cluster.allowed(
            &call.who,
            &format!("/storage/{name}"),
            &["Datastore.Allocate", "Datastore.Audit"],
        )
    };
    let volumes = cluster.volumes.get(&place).into_iter().flatten().map(|(_, volume)| volume);
    volumes.filter(wanted).filter(sees).map(volume_view).collect()
}

fn volume_view(volume: &Volume) -> Value {
    let mut view =
        json!({"volid": volume.id, "content": volume.content, "format": volume.format, "size": volume.size});
    if let Some(vmid) = volume.vmid {
        view["vmid"] = vmid.into();
    }
    if let Some(time) = volume.time {
        view["ctime"] = time.into();
    }
    if let Some(notes) = &volume.notes {
        view["notes"] = notes.as_str().into();
    }
    view
}
