//! `forebay check` and `forebay explain`: looking without serving.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{NO, default_config, report, unusable};
use crate::config;
use crate::proxy;
use crate::rules::RuleSet;
use crate::units::Share;

pub(super) fn check(mut files: Vec<PathBuf>) -> ExitCode {
    if files.is_empty() {
        files.extend(std::env::var_os("FOREBAY_CONFIG").map(PathBuf::from).or_else(default_config));
    }
    if files.is_empty() {
        return unusable("nothing to check: name files, or have a ./forebay.yaml");
    }
    let diagnostics = config::check(&files);
    diagnostics.iter().for_each(|diagnostic| println!("{diagnostic}"));
    if diagnostics.iter().any(|diagnostic| diagnostic.is_error()) {
        return NO.into();
    }
    println!("{} checked, no mistakes", if files.len() == 1 { "1 file" } else { "all files" });
    ExitCode::SUCCESS
}

pub(super) fn explain(
    method: &str,
    url: &str,
    config: Option<PathBuf>,
    rules: Option<String>,
    json: bool,
) -> ExitCode {
    let Ok(method) = method.to_ascii_uppercase().parse() else {
        return unusable(format!("`{method}` is no method"));
    };
    if !url.starts_with('/') && !url.contains("://") {
        return unusable(format!("`{url}` is neither a URL nor a path, which starts with `/`"));
    }
    let (rules, audit) = match the_rules(config, rules) {
        Ok(found) => found,
        Err(code) => return code,
    };
    let explanation = proxy::explain(&rules, &method, url).audited(audit);
    if json {
        println!("{}", serde_json::to_string_pretty(&explanation).expect("plain texts and lists"));
    } else {
        print!("{explanation}");
    }
    if explanation.rule.is_some() { ExitCode::SUCCESS } else { NO.into() }
}

/// The rules of a pack, of a configuration's first upstream, or the built-in ones for Proxmox; and the share of
/// hits that are audited, which only a configuration says.
fn the_rules(config: Option<PathBuf>, rules: Option<String>) -> Result<(RuleSet, Share), ExitCode> {
    let Some(config) = config.or_else(|| rules.is_none().then(default_config).flatten()) else {
        let rules =
            config::rules(rules.as_deref().unwrap_or("proxmox")).map_err(|mistakes| report(&mistakes))?;
        return Ok((rules, Share(0.0)));
    };
    let settings = config::load(&config).map_err(|mistakes| report(&mistakes))?;
    let mut upstreams = settings.upstreams.into_iter();
    let first = upstreams.find_map(|upstream| Some((upstream.rules?, upstream.site.audit)));
    first.ok_or_else(|| unusable("the configuration names no rules; name a pack with --rules"))
}
