//! Where in a JSON object the values of some of its own members begin, in whatever pieces it comes, or in
//! each object of a list.
//!
//! Only what a reader of JSON could take for such a member is found: not one of an object further in, nor
//! what stands in a string. What is nothing of the kind is looked at no further. Nothing is decoded and nothing
//! is held but the head of a value, so a body of any size passes in constant memory.

/// How much of a value is looked at: two schemes' length, the longest name of a host (RFC 1035 §2.3.4) with
/// its port, every slash of it escaped, and what follows the host.
const LONGEST_HEAD: usize = 288;

/// What is looked at behind the third slash of a value.
const BEHIND_HOST: usize = 3;

/// Longer names are none of those that are looked for.
const LONGEST_NAME: usize = 32;

/// Where a scan stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the object; so many bytes of a byte order mark have come.
    Before(u8),
    /// Before an object of a list.
    Item,
    /// Before a member's name.
    Name,
    /// In a member's name.
    InName { escaped: bool },
    /// Before a colon; `wanted` is what the name said.
    Colon { wanted: bool },
    /// Before a value.
    Value { wanted: bool },
    /// In the head of a value that is looked for.
    Head { escaped: bool },
    /// In a value.
    InValue { string: bool, escaped: bool },
    /// Nothing more to look for.
    Over,
}

/// What a body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// An object.
    Object,
    /// An object, or a list of them.
    ObjectOrList,
}

/// Finds the heads of the values of some members of a JSON object.
#[derive(Debug)]
pub struct Scan {
    wanted: &'static [&'static str],
    shape: Shape,
    state: State,
    depth: usize,
    /// How deep the members are that are looked for.
    level: usize,
    name: Vec<u8>,
    head: Vec<u8>,
    /// Where in the present piece the head begins, if it does there.
    begins: Option<usize>,
    slashes: usize,
    behind: usize,
}

impl Scan {
    /// Looks for strings that are members called one of `wanted`.
    pub fn new(wanted: &'static [&'static str], shape: Shape) -> Self {
        Self {
            wanted,
            shape,
            state: State::Before(0),
            depth: 0,
            level: 1,
            name: Vec::new(),
            head: Vec::new(),
            begins: None,
            slashes: 0,
            behind: 0,
        }
    }

    /// Whether nothing more can be found.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Whether the last piece ended within a head.
    pub fn is_in_head(&self) -> bool {
        matches!(self.state, State::Head { .. })
    }

    /// The head that has come, or as much of it as has come.
    pub fn take_head(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.head)
    }

    /// Where in the present piece the head begins; at its start if that was in an earlier one.
    pub fn take_begin(&mut self) -> usize {
        self.begins.take().unwrap_or(0)
    }

    /// Reads on in `piece` from `at`. Stops behind the next head and says so, or at the end of the piece.
    pub fn advance(&mut self, piece: &[u8], at: &mut usize) -> bool {
        while let Some(byte) = piece.get(*at).copied() {
            match self.state {
                State::Over => {
                    *at = piece.len();
                    return false;
                }
                State::Head { .. } => {
                    if self.in_head(byte, at) {
                        return true;
                    }
                    continue;
                }
                State::InValue { string: true, escaped: false } => {
                    // Most of a body is strings; their ends are looked for at once.
                    let rest = &piece[*at..];
                    let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'));
                    *at += end.unwrap_or(rest.len());
                    if let Some(end) = end {
                        self.state =
                            State::InValue { string: rest[end] == b'\\', escaped: rest[end] == b'\\' };
                        *at += 1;
                    }
                    continue;
                }
                _ => {}
            }
            *at += 1;
            self.state = self.after(byte, *at);
        }
        false
    }

    /// The state behind a byte that is neither in a head nor in a string of a value.
    fn after(&mut self, byte: u8, next: usize) -> State {
        let is_space = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        match self.state {
            State::Before(n @ (0 | 3)) if is_space => State::Before(n),
            State::Before(0 | 3) if byte == b'{' => {
                self.depth = 1;
                State::Name
            }
            State::Before(0 | 3) if byte == b'[' && self.shape == Shape::ObjectOrList => {
                (self.depth, self.level) = (1, 2);
                State::Item
            }
            State::Item if is_space || byte == b',' => State::Item,
            State::Item if byte == b'{' => {
                self.depth = 2;
                State::Name
            }
            // Some servers of .NET begin with a byte order mark, and their clients skip it.
            State::Before(n @ 0..3) if byte == [0xef, 0xbb, 0xbf][usize::from(n)] => State::Before(n + 1),
            State::Name if is_space || byte == b',' => State::Name,
            State::Name if byte == b'"' => {
                self.name.clear();
                State::InName { escaped: false }
            }
            State::InName { escaped: false } if byte == b'"' => {
                State::Colon { wanted: self.wanted.iter().any(|name| name.as_bytes() == self.name) }
            }
            State::InName { escaped } => {
                if self.name.len() < LONGEST_NAME {
                    self.name.push(byte);
                }
                State::InName { escaped: !escaped && byte == b'\\' }
            }
            State::Colon { wanted } if is_space => State::Colon { wanted },
            State::Colon { wanted } if byte == b':' => State::Value { wanted },
            State::Value { wanted } if is_space => State::Value { wanted },
            State::Value { wanted: true } if byte == b'"' => {
                self.head.clear();
                (self.begins, self.slashes, self.behind) = (Some(next), 0, 0);
                State::Head { escaped: false }
            }
            State::Value { .. } | State::InValue { string: false, .. } => self.in_value(byte),
            State::InValue { string: true, .. } => State::InValue { string: true, escaped: false },
            _ => State::Over,
        }
    }

    fn in_value(&mut self, byte: u8) -> State {
        match byte {
            b'"' => return State::InValue { string: true, escaped: false },
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth -= 1;
                if self.depth < self.level {
                    return if self.depth == 0 { State::Over } else { State::Item };
                }
            }
            b',' if self.depth == self.level => return State::Name,
            _ => {}
        }
        State::InValue { string: false, escaped: false }
    }

    /// One byte of a head; whether the head is complete. A byte that is no part of it is left.
    fn in_head(&mut self, byte: u8, at: &mut usize) -> bool {
        let State::Head { escaped } = self.state else { return false };
        if escaped && byte != b'/' {
            // An escape that no address has: what it stands for is read as a part of the string.
            self.state = State::InValue { string: true, escaped: true };
            return true;
        }
        if !escaped && byte == b'"' {
            self.state = State::InValue { string: true, escaped: false };
            return true;
        }
        self.head.push(byte);
        *at += 1;
        match byte {
            b'\\' if !escaped => {
                self.state = State::Head { escaped: true };
                return false;
            }
            _ if self.slashes == 3 => self.behind += 1,
            b'/' => self.slashes += 1,
            _ => {}
        }
        self.state = State::Head { escaped: false };
        let is_complete = self.behind == BEHIND_HOST || self.head.len() >= LONGEST_HEAD;
        if is_complete {
            self.state = State::InValue { string: true, escaped: false };
        }
        is_complete
    }
}
