// Package function is the runtime that every program of this project starts with. Start reading
// with [Main]; [Events] is next for a function, [NewSink] for a program that sends events.
//
// A program's main says what it serves, and [Main] does the rest:
//
//  1. read the settings from the environment: those of every program ([Settings]), and its own;
//  2. make a logger that writes one JSON object a line, and put it into the context;
//  3. call the program's own set-up, which returns an [http.Handler];
//  4. serve it on $PORT, beside /healthz, /readyz and (but for METRICS) /metrics;
//  5. on SIGTERM answer /readyz with 503, finish what is under way ([Drainer]), and end.
//
// What the package promises:
//
//   - A request that was accepted is finished, also after SIGTERM, within DRAIN_TIMEOUT.
//   - The answer to an event is always one that Knative's broker understands: see [Events].
//   - Whatever a client sends, slowly, endlessly or broken, gets an answer of one line or a closed
//     connection, and holds up nobody else: see [Server].
//   - A setting that is wrong ends the program at its start, with an error that names the variable.
//   - Nothing here links an API server or Knative Eventing: a function is a small static program
//     that starts in a fraction of a second.
package function
