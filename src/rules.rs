//! Rule packs: which reads are kept and for how long, and which writes overtake them.
