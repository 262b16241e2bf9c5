//! Changing storages and what is on them, and what tasks do to disks.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::answer::{Failure, Outcome, Reply};
use super::call::{Call, Method};
use super::effects::Effect;
use super::firewall::settings;
use super::guest_writes::disk_volume;
use super::model::{Storage, Volume};
use super::state::Cluster;
use super::storage::{known, size_text, volume_id};

/// Writes on `/storage` and below.
pub(super) fn definition(cluster: &mut Cluster, call: &Call, rest: &[&str]) -> Outcome {
    match (call.method, rest) {
        (Method::Post, []) => {
            let (name, kind) = (call.need("storage")?.to_owned(), call.need("type")?.to_owned());
            if cluster.storages.contains_key(&name) {
                return Err(Failure::die(format!(
                    "create storage failed: storage ID '{name}' already defined"
                )));
            }
            let mut properties = settings(call);
            for key in ["storage", "type", "content", "shared"] {
                properties.remove(key);
            }
            let storage = Storage {
                name: name.clone(),
                kind: kind.clone(),
                content: call.get("content").unwrap_or("images,rootdir").to_owned(),
                shared: call.flag("shared") || matches!(kind.as_str(), "nfs" | "cifs" | "rbd" | "pbs"),
                total: 1 << 40,
                base_used: 0,
                properties,
            };
            cluster.storages.insert(name.clone(), storage);
            Ok(Reply::data(serde_json::json!({"storage": name, "type": kind})))
        }
        (Method::Put, [name]) => {
            let mut changes = settings(call);
            let content = changes.remove("content").and_then(|content| content.as_str().map(str::to_owned));
            let missing = || Failure::die(format!("storage '{name}' does not exist"));
            let storage = cluster.storages.get_mut(*name).ok_or_else(missing)?;
            super::effects::merge(&mut storage.properties, changes);
            storage.content = content.unwrap_or_else(|| storage.content.clone());
            Ok(Reply::data(serde_json::json!({"storage": name, "type": storage.kind})))
        }
        (Method::Delete, [name]) => {
            known(cluster, name)?;
            cluster.storages.remove(*name);
            Ok(Reply::null())
        }
        _ => Err(Failure::not_implemented(call.method.name(), &call.path)),
    }
}

/// Writes on `/nodes/{node}/storage/{name}` and below.
pub(super) fn on_node(
    cluster: &mut Cluster,
    call: &Call,
    node: usize,
    name: &str,
    below: &[&str],
) -> Outcome {
    let path = format!("/storage/{name}");
    let needed = match below {
        ["upload" | "download-url"] => "Datastore.AllocateTemplate",
        _ => "Datastore.AllocateSpace",
    };
    cluster.check(&call.who, &path, &[needed])?;
    known(cluster, name)?;
    match (call.method, below) {
        (Method::Post, ["content"]) => {
            let vmid = call.need_vmid("vmid")?;
            let id = format!("{name}:{}", call.need("filename")?);
            let size = super::storage::disk_size(&format!("size={}", call.need("size")?)).unwrap_or(4 << 20);
            let place = cluster.volume_place(name, node);
            let volume = disk_volume(id.clone(), super::model::Kind::Qemu, size, vmid);
            cluster.volumes.entry(place).or_default().insert(id.clone(), volume);
            // Looks like an identifier of a task to careless clients, and is not one.
            Ok(Reply::data(id))
        }
        (Method::Delete, ["content", volume @ ..]) => {
            let id = volume_id(name, volume);
            let place = cluster.volume_place(name, node);
            let exists = cluster.volumes.get(&place).is_some_and(|volumes| volumes.contains_key(&id));
            if !exists {
                return Err(Failure::die(format!("volume '{id}' does not exist")));
            }
            let effect = Effect::VolumeRemoved { node, storage: name.to_owned(), id };
            let wait = call.get("delay").and_then(|text| text.parse().ok()).map(Duration::from_secs);
            if wait.is_some_and(|wait| wait >= cluster.task_time) {
                // The work ended within the wait that the caller allowed: there is no task to name.
                cluster.apply(effect, call.now).map_err(Failure::die)?;
                return Ok(Reply::null());
            }
            Ok(Reply::data(cluster.start_task(node, "imgdel", name, &call.who, effect, call.now)))
        }
        (Method::Post, ["download-url"]) => {
            let (content, file) = (call.need("content")?, call.need("filename")?);
            call.need("url")?;
            let effect = added(node, name, content, file, 820_445_184, cluster.wall(call.now));
            Ok(Reply::data(cluster.start_task(node, "download", file, &call.who, effect, call.now)))
        }
        (Method::Post, ["upload"]) => {
            // The file itself has been counted while it came in.
            let (content, file) = (call.need("content")?, call.need("filename")?);
            let size = call.get("size").and_then(|text| text.parse().ok()).unwrap_or(0);
            let effect = added(node, name, content, file, size, cluster.wall(call.now));
            Ok(Reply::data(cluster.start_task(call.contacted, "imgcopy", "", &call.who, effect, call.now)))
        }
        _ => Err(Failure::not_implemented(call.method.name(), &call.path)),
    }
}

fn added(node: usize, storage: &str, content: &str, file: &str, size: u64, wall: u64) -> Effect {
    let directory = if content == "iso" { "iso" } else { "vztmpl" };
    let volume = Volume {
        id: format!("{storage}:{directory}/{file}"),
        content: content.to_owned(),
        format: file.rsplit('.').next().unwrap_or("raw").to_owned(),
        size,
        vmid: None,
        time: Some(wall),
        notes: None,
    };
    Effect::VolumeAdded { node, storage: storage.to_owned(), volume }
}

/// `POST /nodes/{node}/vzdump`.
pub(super) fn back_up(cluster: &mut Cluster, call: &Call, node: usize) -> Outcome {
    let storage = call.get("storage").unwrap_or("nfs-iso").to_owned();
    known(cluster, &storage)?;
    let named = call.get("vmid").unwrap_or_default().split(',').filter(|text| !text.is_empty());
    let mut vmids = named.map(|text| super::call::vmid("vmid", text)).collect::<Result<Vec<_>, _>>()?;
    if call.flag("all") {
        vmids = cluster.guests.values().filter(|guest| guest.node == node).map(|guest| guest.vmid).collect();
    }
    for vmid in &vmids {
        cluster.check(&call.who, &format!("/vms/{vmid}"), &["VM.Backup"])?;
    }
    let id = if let [only] = vmids.as_slice() { only.to_string() } else { String::new() };
    // Guests elsewhere are skipped; those that another task holds make the backup fail for them only.
    vmids.retain(|vmid| {
        cluster.guests.get(vmid).is_some_and(|guest| guest.node == node && guest.lock.is_none())
    });
    for vmid in &vmids {
        cluster.edit_guest(*vmid, call.now, |guest| guest.lock = Some("backup"));
    }
    let effect = Effect::BackedUp { vmids, storage };
    Ok(Reply::data(cluster.start_task(node, "vzdump", &id, &call.who, effect, call.now)))
}

impl Cluster {
    /// Writes a disk's new size into its guest and its volume.
    pub(super) fn resize_disk(
        &mut self,
        vmid: u32,
        disk: &str,
        size: u64,
        at: Instant,
    ) -> Result<(), String> {
        let id = self.rewrite_disk(vmid, disk, at, |id, options| {
            let others =
                options.split(',').filter(|option| !option.is_empty() && !option.starts_with("size="));
            let kept: String = others.map(|option| format!(",{option}")).collect();
            format!("{id}{kept},size={}", size_text(size))
        })?;
        for volumes in self.volumes.values_mut() {
            if let Some(volume) = volumes.get_mut(&id) {
                volume.size = size;
            }
        }
        Ok(())
    }

    /// Moves a disk's volume to another storage.
    pub(super) fn move_disk(
        &mut self,
        vmid: u32,
        disk: &str,
        storage: &str,
        at: Instant,
    ) -> Result<(), String> {
        let renamed = |id: &str| format!("{storage}:{}", id.split_once(':').map_or(id, |(_, name)| name));
        let old = self.rewrite_disk(vmid, disk, at, |id, options| format!("{},{options}", renamed(id)))?;
        let node = self.guests.get(&vmid).map_or(0, |guest| guest.node);
        let moved = self.volumes.values_mut().find_map(|volumes| volumes.remove(&old));
        if let Some(mut volume) = moved {
            volume.id = renamed(&old);
            let place = self.volume_place(storage, node);
            self.volumes.entry(place).or_default().insert(volume.id.clone(), volume);
        }
        Ok(())
    }

    /// Rewrites a disk's configuration value from its volume and options. Gives the volume it had.
    fn rewrite_disk(
        &mut self,
        vmid: u32,
        disk: &str,
        at: Instant,
        rewrite: impl FnOnce(&str, &str) -> String,
    ) -> Result<String, String> {
        let missing = || format!("disk '{disk}' does not exist");
        let rewritten = self.edit_guest(vmid, at, |guest| {
            let text = guest.config.get(disk).and_then(Value::as_str)?.to_owned();
            let (id, options) = text.split_once(',').unwrap_or((&text, ""));
            guest.config.insert(disk.to_owned(), rewrite(id, options).into());
            Some(id.to_owned())
        });
        rewritten.flatten().ok_or_else(missing)
    }
}
