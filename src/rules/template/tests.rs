use super::super::pattern::Pattern;
use super::*;

const PATTERN: &str = "/nodes/{node}/qemu/{vmid}";
const PATH: &str = "/nodes/Pve1/qemu/100";

fn parse(text: &str, offers: Offers, fold: bool) -> Result<GroupTemplate, TemplateError> {
    let captures = Pattern::parse(PATTERN).unwrap().captures();
    GroupTemplate::parse(text, &captures, offers, fold)
}

#[test]
fn templates_render() {
    let captures = Pattern::parse(PATTERN).unwrap().matches(PATH, false).unwrap();
    let fields = Fields::from_form(b"newid=200&volid=local:iso/x.iso&empty=").with_query("purge=1");
    let named = |text: &str| Some(Group::Named(text.to_owned()));
    for (text, expected) in [
        ("guests", named("guests")),
        ("guest/{vmid}", named("guest/100")),
        ("node/{node}/{vmid}x", named("node/Pve1/100x")),
        ("guest/{body.newid}", named("guest/200")),
        ("volume/{body.volid}", named("volume/local:iso/x.iso")),
        ("x/{query.purge}", named("x/1")),
        ("guest/{body.vmid}", None),
        ("guest/{body.empty}", None),
        ("guest/{query.newid}", None),
        ("/cluster/resources", Some(Group::Path("/cluster/resources".into()))),
        ("/nodes/{node}/**", Some(Group::Subtree("/nodes/Pve1".into()))),
        ("/", Some(Group::Path("/".into()))),
        ("/**", Some(Group::Subtree("/".into()))),
    ] {
        let template = parse(text, Offers::QueryAndBody, false).unwrap();
        assert_eq!(template.render(PATH, &captures, &fields), expected, "{text}");
        assert_eq!(template.as_str(), text);
    }
    let folded = parse("Node/{node}", Offers::Query, true).unwrap();
    assert_eq!(folded.render(PATH, &captures, &fields), named("node/pve1"));
}

#[test]
fn what_is_no_template_is_refused() {
    for (text, message) in [
        ("", "a group needs a name"),
        ("guest/{id}", "`{id}` is not a capture of the path; it captures node, vmid"),
        (
            "guest/{vmid",
            "`guest/{vmid` has a brace that is no placeholder: write {name}, {body.name} or {query.name}",
        ),
        (
            "guest/vmid}",
            "`guest/vmid}` has a brace that is no placeholder: write {name}, {body.name} or {query.name}",
        ),
        ("{}", "`{}` has a brace that is no placeholder: write {name}, {body.name} or {query.name}"),
        (
            "{form.x}",
            "`{form.x}` has a brace that is no placeholder: write {name}, {body.name} or {query.name}",
        ),
        ("{body.x}", "`{body.x}`: a read has no body"),
        ("guest/*", "`*` stands only at the end of a path, as in `/nodes/{node}/**`"),
        ("guest/**", "`*` stands only at the end of a path, as in `/nodes/{node}/**`"),
        ("/a//b", "a path has no empty segments and no slash at its end"),
        ("/a/", "a path has no empty segments and no slash at its end"),
        ("//**", "a path has no empty segments and no slash at its end"),
    ] {
        let error = parse(text, Offers::Query, false).unwrap_err();
        assert_eq!(error.to_string(), message, "{text}");
    }
}

#[test]
fn groups_that_can_be_one_are_told_from_those_that_cannot() {
    for (ours, theirs, expected) in [
        ("guest/{vmid}", "guest/{body.newid}", true),
        ("guest/{vmid}", "guest/100", true),
        ("guest/{vmid}", "guests", false),
        ("guest/{vmid}", "node/{node}", false),
        ("guests", "guests", true),
    ] {
        let parsed = |text| parse(text, Offers::QueryAndBody, false).unwrap();
        assert_eq!(parsed(ours).may_equal(&parsed(theirs)), expected, "{ours} and {theirs}");
    }
}
