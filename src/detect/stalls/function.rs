//! The name of a function without the types it was made for, so that one pattern matches all of them.

/// What a function may be called: by its own path, and where it belongs to a trait, by the trait's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::detect) struct Function {
    /// `std::net::tcp::TcpStream::read` of `<std::net::tcp::TcpStream as std::io::Read>::read`.
    pub(in crate::detect) path: String,
    /// `std::io::Read::read` of the same.
    pub(in crate::detect) of_trait: Option<String>,
}

impl Function {
    /// Reads a demangled name, old or new manner.
    pub(in crate::detect) fn of(name: &str) -> Function {
        let name = super::super::place::plain(name);
        match angle(&name) {
            Some((inside, rest)) => match split_as(inside) {
                Some((own, of)) => Function { path: bare(own) + &erase(rest), of_trait: Some(bare(of) + &erase(rest)) },
                None => Function { path: bare(inside) + &erase(rest), of_trait: None },
            },
            None => Function { path: erase(&name), of_trait: None },
        }
    }
}

/// The type that a function drops: `T` of `core::ptr::drop_in_place::<T>`, and of its own `<T as core::ops::drop::Drop>::drop`,
/// into which the first may have been inlined.
pub(super) fn dropped(name: &str) -> Option<String> {
    let own =
        angle(name).and_then(|(inside, _)| split_as(inside)).filter(|(_, of)| bare(of) == "core::ops::drop::Drop");
    if let Some((of, _)) = own {
        return Some(bare(of));
    }
    let after = ["drop_in_place", "drop_glue"].iter().find_map(|mark| Some(name.split_once(mark)?.1))?;
    let (inside, _) = angle(after.trim_start_matches(':'))?;
    Some(bare(inside))
}

/// The text inside leading angle brackets, and what follows them.
fn angle(name: &str) -> Option<(&str, &str)> {
    let name = name.strip_prefix('<')?;
    let mut depth = 1_usize;
    let mut last = ' ';
    for (at, letter) in name.char_indices() {
        match letter {
            '<' => depth += 1,
            // `->` is no bracket.
            '>' if last != '-' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((name.get(..at)?, name.get(at + 1..)?));
        }
        last = letter;
    }
    None
}

/// `T as Trait`, if that is what stands in angle brackets, and not inside others.
fn split_as(inside: &str) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    let mut last = ' ';
    for (at, letter) in inside.char_indices() {
        match letter {
            '<' | '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '>' if last != '-' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && inside.get(at..).is_some_and(|rest| rest.starts_with(" as ")) {
            return Some((inside.get(..at)?, inside.get(at + 4..)?));
        }
        last = letter;
    }
    None
}

/// A type's path, without the ways to refer to it.
fn bare(of: &str) -> String {
    let mut of = of.trim();
    while let Some(rest) = ["&", "mut ", "dyn ", "*const ", "*mut "].iter().find_map(|mark| of.strip_prefix(mark)) {
        of = rest.trim_start();
    }
    // A method of a type that is itself written as `<T as Trait>::Type`.
    match angle(of) {
        Some((inside, rest)) => bare(split_as(inside).map_or(inside, |(own, _)| own)) + &erase(rest),
        None => erase(of),
    }
}

/// The name without what stands in angle brackets.
fn erase(name: &str) -> String {
    let (mut depth, mut last, mut kept) = (0_usize, ' ', String::with_capacity(name.len()));
    for letter in name.chars() {
        match letter {
            '<' => {
                depth += 1;
                if depth == 1 && kept.ends_with("::") {
                    kept.truncate(kept.len() - 2);
                }
            }
            '>' if last != '-' => depth = depth.saturating_sub(1),
            _ if depth == 0 => kept.push(letter),
            _ => {}
        }
        last = letter;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_manner() {
        for (name, path, of_trait) in [
            ("std::thread::sleep", "std::thread::sleep", None),
            ("std::fs::read::<&str>", "std::fs::read", None),
            ("std::fs::read::inner::{{closure}}", "std::fs::read::inner", None),
            ("std::sync::mpsc::Receiver<T>::recv", "std::sync::mpsc::Receiver::recv", None),
            ("<std::sync::mpsc::Receiver<fn(u8) -> u8>>::recv", "std::sync::mpsc::Receiver::recv", None),
            (
                "<std::net::tcp::TcpStream as std::io::Read>::read",
                "std::net::tcp::TcpStream::read",
                Some("std::io::Read::read"),
            ),
            (
                "<(&str, u16) as std::net::socket_addr::ToSocketAddrs>::to_socket_addrs",
                "(&str, u16)::to_socket_addrs",
                Some("std::net::socket_addr::ToSocketAddrs::to_socket_addrs"),
            ),
            (
                "<&mut dyn tower::Service<Vec<u8>> as core::ops::FnOnce<()>>::call_once::<u8>",
                "tower::Service::call_once",
                Some("core::ops::FnOnce::call_once"),
            ),
            ("sqlite3_step", "sqlite3_step", None),
        ] {
            let found = Function::of(name);
            assert_eq!((found.path.as_str(), found.of_trait.as_deref()), (path, of_trait), "{name}");
        }
    }

    #[test]
    fn what_is_dropped() {
        let found = dropped("core::ptr::drop_in_place::<alloc::vec::Vec<svc::Session>>");
        assert_eq!(found.as_deref(), Some("alloc::vec::Vec"));
        assert_eq!(dropped("core::ptr::drop_in_place<svc::Session>").as_deref(), Some("svc::Session"));
        assert_eq!(dropped("<svc::Guide<T> as core::ops::drop::Drop>::drop").as_deref(), Some("svc::Guide"));
        assert_eq!(dropped("svc::drop_off"), None);
        assert_eq!(dropped("<svc::Guide as svc::Leave>::drop"), None);
    }
}
