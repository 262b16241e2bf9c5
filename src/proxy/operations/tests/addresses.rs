//! Operations that the API names by addresses.

use super::*;

#[test]
fn what_left_after_the_write_was_told_ends_it_though_no_time_has_passed() {
    let lab = Lab::new();
    let resource = OperationId("resource".to_owned());
    let before = lab.groups.next();
    let operation = Operation { names: vec![resource.clone()], has_address: true, ..lab.operation() };
    lab.operations.begin(0, operation);
    lab.groups.invalidate(&lab.ids);
    let after = lab.groups.next();
    // It may show the time before the write.
    assert_eq!(lab.operations.let_go(0, &resource, before), News::Old);
    assert!(lab.groups.is_current(after, &lab.ids));
    assert_eq!(lab.operations.let_go(0, &resource, after), News::Of(Origin::Write));
    assert!(!lab.groups.is_current(after, &lab.ids), "what was fetched before the end is overtaken");
}
