//! A strict reader of JSON (RFC 8259) that refuses repeated keys and remembers where values stand.
//!
//! Repeated keys are an error of the policy grammar, and `SimulatePrincipalPolicy` answers with positions of statements; the
//! readers of `serde_json` offer neither.

use super::error::MalformedPolicy;

/// Levels of lists and maps inside each other. A policy needs six.
const DEPTH_MAX: usize = 16;

/// A place in a text, both counted from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character of the line.
    pub column: usize,
}

/// From the first character of an element to the one after its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first character.
    pub start: Position,
    /// After the last character.
    pub end: Position,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) node: Node,
    pub(super) span: Span,
}

/// A value of JSON. Numbers are kept as they are written.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
}

/// Reads a text that is one JSON value.
pub(super) fn read(text: &str) -> Result<Value, MalformedPolicy> {
    let mut reader = Reader {
        rest: text,
        position: Position { line: 1, column: 1 },
    };
    reader.space();
    let value = reader.value(0)?;
    reader.space();
    if !reader.rest.is_empty() {
        return Err(reader.wrong("text after the end of the document"));
    }
    Ok(value)
}

struct Reader<'a> {
    rest: &'a str,
    position: Position,
}

impl Reader<'_> {
    fn wrong(&self, what: &str) -> MalformedPolicy {
        let problem = format!("Syntax errors in policy: {what}");
        MalformedPolicy::new(problem, "", self.position)
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        if c == '\n' {
            self.position.line += 1;
            self.position.column = 1;
        } else {
            self.position.column += 1;
        }
        Some(c)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.next();
        }
    }

    fn accept(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, c: char) -> Result<(), MalformedPolicy> {
        if self.accept(c) {
            Ok(())
        } else {
            Err(self.wrong(&format!("expected `{c}`")))
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, MalformedPolicy> {
        if depth > DEPTH_MAX {
            return Err(self.wrong(&format!("more than {DEPTH_MAX} levels")));
        }
        let start = self.position;
        let node = match self.peek() {
            Some('{') => Node::Map(self.map(depth)?),
            Some('[') => Node::List(self.list(depth)?),
            Some('"') => Node::Text(self.text()?),
            Some('-' | '0'..='9') => Node::Number(self.number()?),
            Some(c) if c.is_ascii_lowercase() => self.word()?,
            _ => return Err(self.wrong("expected a value")),
        };
        let end = self.position;
        Ok(Value {
            node,
            span: Span { start, end },
        })
    }

    fn word(&mut self) -> Result<Node, MalformedPolicy> {
        for (word, node) in [
            ("true", Node::Bool(true)),
            ("false", Node::Bool(false)),
            ("null", Node::Null),
        ] {
            if self.rest.starts_with(word) {
                for _ in word.chars() {
                    self.next();
                }
                return Ok(node);
            }
        }
        Err(self.wrong("expected a value"))
    }

    fn map(&mut self, depth: usize) -> Result<Vec<(String, Value)>, MalformedPolicy> {
        self.expect('{')?;
        let mut entries: Vec<(String, Value)> = Vec::new();
        let mut keys = std::collections::HashSet::new();
        self.space();
        if self.accept('}') {
            return Ok(entries);
        }
        loop {
            self.space();
            let at = self.position;
            let key = self.text()?;
            if !keys.insert(key.clone()) {
                let problem = format!("Syntax errors in policy: the key \"{key}\" is given twice");
                return Err(MalformedPolicy::new(problem, "", at));
            }
            self.space();
            self.expect(':')?;
            self.space();
            entries.push((key, self.value(depth + 1)?));
            self.space();
            if self.accept('}') {
                return Ok(entries);
            }
            self.expect(',')?;
        }
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Value>, MalformedPolicy> {
        self.expect('[')?;
        let mut items = Vec::new();
        self.space();
        if self.accept(']') {
            return Ok(items);
        }
        loop {
            self.space();
            items.push(self.value(depth + 1)?);
            self.space();
            if self.accept(']') {
                return Ok(items);
            }
            self.expect(',')?;
        }
    }

    fn number(&mut self) -> Result<String, MalformedPolicy> {
        let mut number = String::new();
        if self.accept('-') {
            number.push('-');
        }
        if self.accept('0') {
            number.push('0');
        } else {
            self.digits(&mut number)?;
        }
        if self.accept('.') {
            number.push('.');
            self.digits(&mut number)?;
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            number.extend(self.next());
            if matches!(self.peek(), Some('+' | '-')) {
                number.extend(self.next());
            }
            self.digits(&mut number)?;
        }
        Ok(number)
    }

    fn digits(&mut self, number: &mut String) -> Result<(), MalformedPolicy> {
        let before = number.len();
        while let Some(c @ '0'..='9') = self.peek() {
            number.push(c);
            self.next();
        }
        if number.len() == before {
            return Err(self.wrong("expected a digit"));
        }
        Ok(())
    }

    fn text(&mut self) -> Result<String, MalformedPolicy> {
        self.expect('"')?;
        let mut text = String::new();
        loop {
            if self.peek().is_some_and(|c| c < ' ') {
                return Err(self.wrong("control characters in a text are written as escapes"));
            }
            match self.next() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape()?),
                Some(c) => text.push(c),
                None => return Err(self.wrong("the text has no end")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, MalformedPolicy> {
        Ok(match self.next() {
            Some(c @ ('"' | '\\' | '/')) => c,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => return self.unicode(),
            _ => return Err(self.wrong("unknown escape")),
        })
    }

    fn unicode(&mut self) -> Result<char, MalformedPolicy> {
        let first = self.hex4()?;
        let code = if (0xD800..0xDC00).contains(&first) {
            self.expect('\\')?;
            self.expect('u')?;
            let second = self.hex4()?;
            if !(0xDC00..0xE000).contains(&second) {
                return Err(self.wrong("half of a surrogate pair"));
            }
            0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
        } else {
            first
        };
        char::from_u32(code).ok_or_else(|| self.wrong("half of a surrogate pair"))
    }

    fn hex4(&mut self) -> Result<u32, MalformedPolicy> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.next().and_then(|c| c.to_digit(16));
            code = code * 16 + digit.ok_or_else(|| self.wrong("expected four digits"))?;
        }
        Ok(code)
    }
}
