//! A machine for pickles that builds plain values and calls nothing.
//!
//! It knows the binary opcodes of protocols 2 to 5. The memory of a run is proportional to the
//! length of the pickle.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cursor::Cursor;
use crate::fault::{Checked, Fault, broken};
use crate::globals::is_hostile;
use crate::object::{Id, Object, Pickle};
use crate::rebuild::{rebuild, storage};
use crate::values::{MOST_OBJECTS, Values};

/// Most bytes of the name of a module or of a class.
const LONGEST_NAME: usize = 256;

/// Runs the pickle at the front of `bytes`. Returns its values and the bytes that it occupies.
pub(crate) fn unpickle(bytes: &[u8]) -> Checked<(Pickle, usize)> {
    let mut machine = Machine {
        code: Cursor::new(bytes),
        values: Values::default(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    while !machine.step()? {}
    let root = machine.pop()?;
    Ok((Pickle { objects: machine.values.objects, root }, machine.code.position()))
}

/// The state of a run.
struct Machine<'a> {
    code: Cursor<'a>,
    values: Values,
    stack: Vec<Id>,
    /// Heights of the stack where marks lie.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl Machine<'_> {
    /// Runs one instruction and returns whether it was the last.
    fn step(&mut self) -> Checked<bool> {
        let opcode = self.code.u8()?;
        if opcode == b'.' {
            return Ok(true);
        }
        if self.literal(opcode)? || self.container(opcode)? || self.memory(opcode)? || self.class(opcode)? {
            return Ok(false);
        }
        broken(format!("its pickle has the instruction {opcode:#04x}, which torch.save does not use"))
    }

    /// Runs `opcode` if it pushes a number or a text. Returns whether it does.
    fn literal(&mut self, opcode: u8) -> Checked<bool> {
        match opcode {
            b'N' => self.push(Object::None)?,
            0x88 => self.push(Object::Bool(true))?,
            0x89 => self.push(Object::Bool(false))?,
            b'J' => {
                let number = i32::from_le_bytes(self.code.array()?);
                self.push(Object::Int(number.into()))?;
            }
            b'K' => {
                let number = self.code.u8()?;
                self.push(Object::Int(number.into()))?;
            }
            b'M' => {
                let number = self.code.u16()?;
                self.push(Object::Int(number.into()))?;
            }
            0x8a => {
                let length = self.code.u8()?;
                self.long(length.into())?;
            }
            0x8b => {
                let length = self.code.u32()?;
                self.long(length as usize)?;
            }
            b'G' => {
                self.code.take(8)?;
                self.push(Object::Float)?;
            }
            // Texts, and the byte strings of Python 2, by the width of their length.
            b'X' | b'T' | b'B' => {
                let length = self.code.u32()?;
                self.text(length.into(), opcode == b'B')?;
            }
            0x8c | b'U' | b'C' => {
                let length = self.code.u8()?;
                self.text(length.into(), opcode == b'C')?;
            }
            0x8d | 0x8e | 0x96 => {
                let length = self.code.u64()?;
                self.text(length, opcode != 0x8d)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Runs `opcode` if it makes or fills a container. Returns whether it does.
    fn container(&mut self, opcode: u8) -> Checked<bool> {
        match opcode {
            b')' => self.push(Object::Tuple(Vec::new()))?,
            0x85..=0x87 => {
                let elements = self.pop_many(usize::from(opcode - 0x84))?;
                self.push(Object::Tuple(elements))?;
            }
            b't' => {
                let elements = self.pop_to_mark()?;
                self.push(Object::Tuple(elements))?;
            }
            // Sets are lists here.
            b']' | 0x8f => self.push(Object::List(Vec::new()))?,
            b'l' | 0x91 => {
                let elements = self.pop_to_mark()?;
                self.push(Object::List(elements))?;
            }
            b'a' => {
                let elements = self.pop_many(1)?;
                self.append(elements)?;
            }
            b'e' | 0x90 => {
                let elements = self.pop_to_mark()?;
                self.append(elements)?;
            }
            b'}' => self.push(Object::Dict(Vec::new()))?,
            b'd' => {
                let items = self.pop_to_mark()?;
                self.push(Object::Dict(Vec::new()))?;
                self.set_items(&items)?;
            }
            b's' => {
                let items = self.pop_many(2)?;
                self.set_items(&items)?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set_items(&items)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Runs `opcode` if it arranges values on the stack and in the memo. Returns whether it does.
    fn memory(&mut self, opcode: u8) -> Checked<bool> {
        match opcode {
            // The protocol, and the length of a frame.
            0x80 => _ = self.code.u8()?,
            0x95 => _ = self.code.u64()?,
            b'(' => self.marks.push(self.stack.len()),
            b'0' => _ = self.pop()?,
            b'1' => _ = self.pop_to_mark()?,
            b'2' => self.stack.push(self.top()?),
            b'q' => {
                let key = self.code.u8()?;
                self.remember(key.into())?;
            }
            b'r' => {
                let key = self.code.u32()?;
                self.remember(key)?;
            }
            0x94 => self.remember(self.memo.len() as u32)?,
            b'h' => {
                let key = self.code.u8()?;
                self.recall(key.into())?;
            }
            b'j' => {
                let key = self.code.u32()?;
                self.recall(key)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Runs `opcode` if it names a class, or makes a value of one. Returns whether it does.
    fn class(&mut self, opcode: u8) -> Checked<bool> {
        match opcode {
            b'c' => {
                let (module, name) = (self.code.line()?, self.code.line()?);
                let [module, name] = [module, name].map(String::from_utf8_lossy);
                self.global(&module, &name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Object::Text(module), Object::Text(name)) =
                    (self.values.get(module), self.values.get(name))
                else {
                    return broken("the name of a class is no text");
                };
                let (module, name) = (module.clone(), name.clone());
                self.global(&module, &name)?;
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = storage(&self.values, id)?;
                self.push(storage)?;
            }
            // A call, and a new object, make the same of a class and its arguments.
            b'R' | 0x81 => {
                let arguments = self.pop()?;
                let callee = self.pop()?;
                self.call(callee, arguments)?;
            }
            0x92 => {
                let _keywords = self.pop()?;
                let arguments = self.pop()?;
                let callee = self.pop()?;
                self.call(callee, arguments)?;
            }
            // The attributes of an object, which weights do not need.
            b'b' => {
                self.pop()?;
                self.top()?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn push(&mut self, object: Object) -> Checked<()> {
        let id = self.values.make(object)?;
        self.stack.push(id);
        Ok(())
    }

    fn top(&self) -> Checked<Id> {
        match self.stack.last() {
            Some(id) if self.marks.last().is_none_or(|mark| *mark < self.stack.len()) => Ok(*id),
            _ => broken("its pickle takes a value that is not there"),
        }
    }

    fn pop(&mut self) -> Checked<Id> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    /// The last `count` values in the order in which they were pushed.
    fn pop_many(&mut self, count: usize) -> Checked<Vec<Id>> {
        let mut popped = (0..count).map(|_| self.pop()).collect::<Checked<Vec<_>>>()?;
        popped.reverse();
        Ok(popped)
    }

    fn pop_to_mark(&mut self) -> Checked<Vec<Id>> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => broken("its pickle has no mark where it takes one"),
        }
    }

    fn append(&mut self, mut elements: Vec<Id>) -> Checked<()> {
        let list = self.top()?;
        match &mut self.values.objects[list as usize] {
            Object::List(list) => list.append(&mut elements),
            Object::Opaque(_) => {}
            _ => return broken("its pickle appends to a value that is no list"),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Id]) -> Checked<()> {
        let dict = self.top()?;
        let (pairs, rest) = items.as_chunks::<2>();
        match &mut self.values.objects[dict as usize] {
            Object::Dict(dict) if rest.is_empty() => {
                dict.extend(pairs.iter().map(|[key, value]| (*key, *value)));
            }
            Object::Opaque(_) => {}
            _ => return broken("its pickle sets items of a value that is no dictionary"),
        }
        Ok(())
    }

    fn remember(&mut self, key: u32) -> Checked<()> {
        let id = self.top()?;
        if self.memo.len() == MOST_OBJECTS {
            return broken(format!("its pickle remembers more than {MOST_OBJECTS} values"));
        }
        self.memo.insert(key, id);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Checked<()> {
        match self.memo.get(&key) {
            Some(id) => {
                self.stack.push(*id);
                Ok(())
            }
            None => broken("its pickle recalls a value that it did not remember"),
        }
    }

    /// A whole number of `length` bytes.
    fn long(&mut self, length: usize) -> Checked<()> {
        let bytes = self.code.take(length)?;
        let mut word = [if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 }; 8];
        let object = match word.get_mut(..length) {
            Some(low) => {
                low.copy_from_slice(bytes);
                Object::Int(i64::from_le_bytes(word))
            }
            None => Object::Opaque("a whole number of more than 64 bits".into()),
        };
        self.push(object)
    }

    fn text(&mut self, length: u64, binary: bool) -> Checked<()> {
        let bytes = self.code.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        let object = match std::str::from_utf8(bytes) {
            Ok(text) if !binary => Object::Text(text.to_owned()),
            _ => Object::Opaque("bytes".into()),
        };
        self.push(object)
    }

    fn global(&mut self, module: &str, name: &str) -> Checked<()> {
        if module.len().max(name.len()) > LONGEST_NAME {
            return broken("the name of a class is endless");
        }
        let full = format!("{module}.{name}");
        if is_hostile(module, name) {
            return Err(Fault::Hostile(full.escape_debug().to_string()));
        }
        self.push(Object::Global(full.into()))
    }

    fn call(&mut self, callee: Id, arguments: Id) -> Checked<()> {
        let name: Arc<str> = match self.values.get(callee) {
            Object::Global(name) | Object::Opaque(name) => name.clone(),
            _ => return broken("its pickle calls a value that is no class"),
        };
        let made = rebuild(&mut self.values, &name, arguments)?;
        self.stack.push(made);
        Ok(())
    }
}
