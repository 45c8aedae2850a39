// Command convert is the conversion webhook of the library, for a cluster on which its models have both versions.
package main

import (
	"log"
	"net/http"
	"time"

	"github.com/xos-knative/synchronizer/pkg/local/kubeapi/conversion"
	"github.com/xos-knative/synchronizer/pkg/testdata/library/versions"
)

func main() {
	server := http.Server{Addr: ":8443", Handler: conversion.Handler(versions.Conversions()), ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServeTLS("/certificate/tls.crt", "/certificate/tls.key"))
}
