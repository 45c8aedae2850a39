// Package source is the model source: the one part of the system that always runs. It watches the
// objects of every model and sends a CloudEvent for each step that has work on one, as [model.Due]
// says. The source is what waits, so that functions need not: the next attempt after a failure, the
// wait for a dependency and the order between objects take memory here, and no pod.
//
// # What it promises
//
//   - Every step that is due gets an event, sooner or later, whatever is lost or restarted on the
//     way. The source keeps no state of its own: what it has forgotten when it starts again is still
//     due, and is found again.
//   - A step that was sent an event for an object gets no other one for it before the watched status
//     shows that the step has handled it, or a visibility timeout passes. So a step does not run
//     twice at once for one object, except after a visibility timeout, and while a source starts
//     again or a second one runs.
//   - Nothing but due work makes an event: neither a status that a step has written, nor a resync,
//     nor a restart.
//   - The steps of one object go one after the other, as long as their functions answer within seconds. No step waits
//     for a function that is slow, or that has to be started first.
//   - A step that only has to say that it waits gets an event for that, but not while what it waits for is just going to be
//     synced or deleted, for 30 s at most.
//   - At most [Options.Window] objects of one kind and step wait for their acknowledgement, not
//     counting those that have waited for longer than a visibility timeout. A function that hangs
//     holds up nobody else.
//   - If more are due than that, one event is about several objects, up to [Options.Objects]. Each is acknowledged by its
//     own status, and what is not comes again, alone.
//   - Kinds that are defined, changed and deleted while the source runs need no restart. With no
//     model at all it waits for the first one.
//
// # Where to start reading
//
// [Source.Run] starts everything; then in the order of the work:
//
//   - definitions.go finds the kinds, by the label of their definitions, and those that have lost it;
//   - intake.go takes in what the API says of the objects, of which decode.go decodes only what matters;
//   - record.go says what is kept of an object: a few hundred bytes, of which a [model.Snapshot] is made when
//     somebody looks at it; objects.go keeps the records, and knows what depends on what;
//   - tracker.go asks model.Due about what may have changed, and sends what is due, for each kind and step
//     in turn. It is a state machine without goroutines, clocks and I/O, and source.go the shell around it.
package source
