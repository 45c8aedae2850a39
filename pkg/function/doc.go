// Package function is the runtime that every program of this project starts
// with. A program's main says what it serves, [Main] does the rest:
//
//  1. read the settings from the environment ([Settings]);
//  2. make a logger that writes one JSON object a line, and put it into the context;
//  3. call the program's own set-up, which returns an [http.Handler];
//  4. serve it on $PORT beside /healthz, /readyz and /metrics;
//  5. on SIGTERM turn not ready, finish what is under way, and end.
//
// Functions that are woken by CloudEvents make their handler with [Events],
// which owns the answers that Knative's broker acts on: see there.
//
// Nothing here links an API server or Knative Eventing: a function is a small
// static program that starts in a fraction of a second.
package function
