//! Fields that a door can't do: refused by their path, with the reason that its table has. The pages about HTTP are made of the same
//! tables.

use crate::prompt::Violations;

/// Paths of fields, each with why it is refused. `[]` stands for any index.
pub(super) type RefusedFields = &'static [(&'static str, &'static str)];

/// Notes each field that was given, with the reason in the table.
pub(super) fn refuse_given(table: RefusedFields, fields: &[(&str, bool)], wrong: &mut Violations) {
    for (path, _) in fields.iter().filter(|(_, is_given)| *is_given) {
        refuse(table, path, wrong);
    }
}

/// Notes one field by its path, with the reason in the table.
pub(super) fn refuse(table: RefusedFields, path: &str, wrong: &mut Violations) {
    wrong.add(path, reason_for(table, path));
}

/// Why the field is refused.
pub(super) fn reason_for(table: RefusedFields, path: &str) -> &'static str {
    let of_any_index = without_indexes(path);
    table.iter().find(|(known, _)| *known == of_any_index).map_or("is not taken here", |(_, reason)| reason)
}

/// `messages[3].name` becomes `messages[].name`.
fn without_indexes(path: &str) -> String {
    let mut is_inside = false;
    let mut of_any_index = String::with_capacity(path.len());
    for character in path.chars() {
        is_inside = if is_inside { character != ']' } else { character == '[' };
        if !is_inside || character == '[' {
            of_any_index.push(character);
        }
    }
    of_any_index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_in_a_list_has_the_reason_of_its_kind() {
        let table: RefusedFields = &[("messages[].name", "has no place"), ("audio", "is not made")];
        assert_eq!(reason_for(table, "messages[12].name"), "has no place");
        assert_eq!(reason_for(table, "audio"), "is not made");
    }
}
