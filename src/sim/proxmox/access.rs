//! `/access` and below: logins, users, tokens, access control.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::answer::{Failure, Outcome, Reply};
use super::auth::{Token, User};
use super::call::{Call, Method, Principal};
use super::cluster::index;
use super::model::Object;
use super::rights::{Entry, Subject};
use super::sha1;
use super::state::Cluster;

/// Whether a path needs no credential at all.
pub(super) fn anonymous(method: Method, parts: &[&str]) -> bool {
    matches!(
        (method, parts),
        (Method::Get, ["access", "domains" | "ticket"]) | (Method::Post, ["access", "ticket"])
    )
}

pub(super) fn route(cluster: &mut Cluster, call: &Call, rest: &[&str]) -> Outcome {
    match (call.method, rest) {
        (Method::Get, []) => Ok(index(&[
            "acl",
            "domains",
            "groups",
            "openid",
            "password",
            "permissions",
            "roles",
            "tfa",
            "ticket",
            "users",
        ])),
        (Method::Get, ["ticket"]) => Ok(Reply::null()),
        (Method::Post, ["ticket"]) => login(cluster, call),
        (Method::Get, ["domains"]) => Ok(Reply::list(vec![
            json!({"realm": "pam", "type": "pam", "comment": "Linux PAM standard authentication"}),
            json!({"realm": "pve", "type": "pve", "default": 1, "comment": "Proxmox VE authentication server"}),
        ])),
        (Method::Get, ["permissions"]) => permissions(cluster, call),
        (Method::Get, ["roles"]) => {
            let roles = cluster.accounts.access.roles.iter();
            let items = roles.map(|(name, privileges)| {
                let list: Vec<_> = privileges.iter().map(String::as_str).collect();
                json!({"roleid": name, "privs": list.join(","), "special": 1})
            });
            Ok(Reply::list(items.collect()))
        }
        (Method::Get, ["groups"]) => {
            let groups: BTreeSet<_> = cluster.accounts.users.values().flat_map(|user| &user.groups).collect();
            let sees =
                cluster.allowed(&call.who, "/access/groups", &["User.Modify", "Sys.Audit", "Group.Allocate"]);
            let items = groups.into_iter().filter(|_| sees).map(|group| {
                let members = cluster.accounts.users.iter().filter(|(_, user)| user.groups.contains(group));
                let names: Vec<_> = members.map(|(name, _)| name.as_str()).collect();
                json!({"groupid": group, "users": names.join(",")})
            });
            Ok(Reply::list(items.collect()))
        }
        (Method::Get, ["acl"]) => {
            let sees = cluster.allowed(&call.who, "/access", &["Sys.Audit", "Permissions.Modify"]);
            let entries = cluster.accounts.access.entries.iter().filter(|_| sees);
            Ok(Reply::list(
                entries
                    .map(|entry| {
                        json!({"path": entry.path, "type": entry.subject.name(),
                "ugid": entry.id, "roleid": entry.role, "propagate": u8::from(entry.propagate)})
                    })
                    .collect(),
            ))
        }
        (Method::Put, ["acl"]) => put_acl(cluster, call),
        (Method::Put, ["password"]) => password(cluster, call),
        (_, ["users", rest @ ..]) => users(cluster, call, rest),
        _ => Err(Failure::not_implemented(call.method.name(), &call.path)),
    }
}

fn login(cluster: &mut Cluster, call: &Call) -> Outcome {
    let (name, password) = (call.need("username")?, call.need("password")?);
    let user = match (name.contains('@'), call.get("realm")) {
        (true, _) => name.to_owned(),
        (false, realm) => format!("{name}@{}", realm.unwrap_or("pam")),
    };
    let wall = cluster.wall(call.now);
    cluster.accounts.login(&user, password, wall)?;
    cluster.write_log(call.contacted, &user, format!("successful auth for user '{user}'"), call.now);
    let who = Principal::parse(&user);
    let mut cap = Object::new();
    for (part, path) in [
        ("vms", "/vms"),
        ("storage", "/storage"),
        ("access", "/access"),
        ("nodes", "/nodes"),
        ("sdn", "/sdn"),
        ("mapping", "/mapping"),
        ("dc", "/"),
    ] {
        let all = cluster.privileges(&who, path).into_keys().map(|name| (name, Value::from(1)));
        cap.insert(part.to_owned(), Object::from_iter(all).into());
    }
    let accounts = &cluster.accounts;
    Ok(Reply::data(json!({"username": user, "ticket": accounts.ticket(&user, wall), "clustername": "lab",
        "CSRFPreventionToken": accounts.csrf(&user, wall), "cap": cap})))
}

/// Every path that somebody has rights on, with the caller's own.
fn permissions(cluster: &Cluster, call: &Call) -> Outcome {
    let who = match call.get("userid") {
        Some(name) if name != call.who.name() => {
            let other = Principal::parse(name);
            if other.user != call.who.user || call.who.token.is_some() {
                cluster.check(&call.who, "/access", &["Sys.Audit"])?;
            }
            other
        }
        _ => call.who.clone(),
    };
    let fixed = ["/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms"];
    let mut paths: BTreeSet<String> = fixed.map(str::to_owned).into();
    paths.extend(cluster.accounts.access.entries.iter().map(|entry| entry.path.clone()));
    paths.extend(cluster.pools.keys().map(|pool| format!("/pool/{pool}")));
    let members = cluster.guests.values().filter(|guest| guest.pool.is_some());
    paths.extend(members.map(|guest| format!("/vms/{}", guest.vmid)));
    if let Some(path) = call.get("path") {
        paths = BTreeSet::from([path.to_owned()]);
    }
    let mut view = Object::new();
    for path in paths {
        let privileges = cluster.privileges(&who, &path);
        if !privileges.is_empty() {
            let flags = privileges.into_iter().map(|(name, propagate)| (name, u8::from(propagate).into()));
            view.insert(path, Object::from_iter(flags).into());
        }
    }
    Ok(Reply::data(view))
}

fn put_acl(cluster: &mut Cluster, call: &Call) -> Outcome {
    let path = call.need("path")?.to_owned();
    cluster.check(&call.who, &path, &["Permissions.Modify"])?;
    let roles: Vec<_> = call.need("roles")?.split(',').map(str::to_owned).collect();
    let propagate = call.get("propagate").is_none() || call.flag("propagate");
    for role in &roles {
        if !cluster.accounts.access.roles.contains_key(role) {
            return Err(Failure::die(format!("role '{role}' does not exist")));
        }
    }
    for (parameter, subject) in
        [("users", Subject::User), ("groups", Subject::Group), ("tokens", Subject::Token)]
    {
        for id in call.get(parameter).unwrap_or_default().split(',').filter(|id| !id.is_empty()) {
            for role in &roles {
                let entries = &mut cluster.accounts.access.entries;
                let (path, id, role) = (path.clone(), id.to_owned(), role.clone());
                let new = Entry { path, subject, id, role, propagate };
                entries.retain(|entry| {
                    !(entry.path == new.path && entry.id == new.id && entry.role == new.role)
                });
                if !call.flag("delete") {
                    entries.push(new);
                }
            }
        }
    }
    Ok(Reply::null())
}

fn password(cluster: &mut Cluster, call: &Call) -> Outcome {
    if call.who.token.is_some() {
        return Err(Failure::new(
            403,
            "Permission check failed (URI '/access/password' not available with API token, need proper ticket.\n)",
        ));
    }
    let (user, password) = (call.need("userid")?.to_owned(), call.need("password")?.to_owned());
    if user != call.who.user {
        cluster.check(&call.who, "/access/groups", &["User.Modify"])?;
    }
    let missing = || Failure::die(format!("no such user ('{user}')"));
    cluster.accounts.users.get_mut(&user).ok_or_else(missing)?.password = Some(password);
    Ok(Reply::null())
}

fn users(cluster: &mut Cluster, call: &Call, rest: &[&str]) -> Outcome {
    let modifies = cluster.allowed(&call.who, "/access/groups", &["User.Modify"]);
    let audits = modifies || cluster.allowed(&call.who, "/access/groups", &["Sys.Audit"]);
    let own = |user: &str| user == call.who.user;
    let missing = |user: &str| Failure::die(format!("no such user ('{user}')"));
    let allow = |allowed: bool| {
        if allowed { Ok(()) } else { Err(Failure::forbidden("/access/groups", &["User.Modify"])) }
    };
    let known = &mut cluster.accounts.users;
    match (call.method, rest) {
        (Method::Get, []) => {
            let seen = known.iter().filter(|(name, _)| audits || own(name));
            Ok(Reply::list(seen.map(|(name, user)| user_view(name, user)).collect()))
        }
        (Method::Post, []) => {
            allow(modifies)?;
            let name = call.need("userid")?;
            if known.contains_key(name) {
                return Err(Failure::die(format!("create user failed: user '{name}' already exists")));
            }
            let mut user = User::new();
            user.password = call.get("password").map(str::to_owned);
            user.comment = call.get("comment").map(str::to_owned);
            known.insert(name.to_owned(), user);
            Ok(Reply::null())
        }
        (Method::Get, [name]) => {
            allow(audits || own(name))?;
            Ok(Reply::data(user_view(name, known.get(*name).ok_or_else(|| missing(name))?)))
        }
        (Method::Put, [name]) => {
            allow(modifies)?;
            let user = known.get_mut(*name).ok_or_else(|| missing(name))?;
            user.enabled = call.get("enable").map_or(user.enabled, |_| call.flag("enable"));
            if let Some(comment) = call.get("comment") {
                user.comment = Some(comment.to_owned());
            }
            Ok(Reply::null())
        }
        (Method::Delete, [name]) => {
            allow(modifies)?;
            known.remove(*name).ok_or_else(|| missing(name))?;
            Ok(Reply::null())
        }
        (method, [name, "token", rest @ ..]) => {
            allow(modifies || own(name))?;
            let user = known.get_mut(*name).ok_or_else(|| missing(name))?;
            tokens(user, call, method, name, rest)
        }
        _ => Err(Failure::not_implemented(call.method.name(), &call.path)),
    }
}

fn tokens(user: &mut User, call: &Call, method: Method, name: &str, rest: &[&str]) -> Outcome {
    let missing = |id: &str| Failure::die(format!("no such token '{id}' for user '{name}'"));
    match (method, rest) {
        (Method::Get, []) => {
            let items = user.tokens.iter().map(|(id, token)| {
                let mut view = token_view(token);
                view["tokenid"] = id.as_str().into();
                view
            });
            Ok(Reply::list(items.collect()))
        }
        (Method::Get, [id]) => Ok(Reply::data(token_view(user.tokens.get(*id).ok_or_else(|| missing(id))?))),
        (Method::Post, [id]) => {
            let hex = sha1::hex(format!("{name}!{id}:{}", user.tokens.len()).as_bytes());
            let secret =
                format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[12..15], &hex[15..18], &hex[18..30]);
            let separated = call.get("privsep").is_none() || call.flag("privsep");
            let comment = call.get("comment").map(str::to_owned);
            let token = Token { secret: secret.clone(), separated, comment };
            let view =
                json!({"full-tokenid": format!("{name}!{id}"), "value": secret, "info": token_view(&token)});
            user.tokens.insert((*id).to_owned(), token);
            Ok(Reply::data(view))
        }
        (Method::Put, [id]) => {
            let token = user.tokens.get_mut(*id).ok_or_else(|| missing(id))?;
            token.separated = call.get("privsep").map_or(token.separated, |_| call.flag("privsep"));
            Ok(Reply::data(token_view(token)))
        }
        (Method::Delete, [id]) => {
            user.tokens.remove(*id).ok_or_else(|| missing(id))?;
            Ok(Reply::null())
        }
        _ => Err(Failure::not_implemented(call.method.name(), &call.path)),
    }
}

fn user_view(name: &str, user: &User) -> Value {
    let realm = name.rsplit('@').next().unwrap_or("pve");
    let mut view =
        json!({"userid": name, "enable": u8::from(user.enabled), "expire": 0, "realm-type": realm});
    if let Some(comment) = &user.comment {
        view["comment"] = comment.as_str().into();
    }
    if !user.groups.is_empty() {
        view["groups"] = user.groups.join(",").into();
    }
    view
}

fn token_view(token: &Token) -> Value {
    let mut view = json!({"privsep": u8::from(token.separated), "expire": 0});
    if let Some(comment) = &token.comment {
        view["comment"] = comment.as_str().into();
    }
    view
}
