// Package xos turns the models of a service of XOS, as package xproto has read them, into the files of an author's
// repository: [Convert].
//
// What XOS's core gives to every model is in core.xproto, as far as it has a counterpart. What cannot be carried over
// is either refused, or there is a [Note] that says where it is and what to do instead. Nothing is dropped without a
// word, but for what only tells XOS's own parts (its database, its wire format) how to work: numbers of fields,
// indexes, and the names of links seen from their other end.
package xos
