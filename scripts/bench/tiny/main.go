// Tiny is the smallest function that takes CloudEvents with sdk-go. `make bench` compares how fast the functions start, and how
// large they are, with it.
package main

import (
	"context"
	"log"
	"net"
	"net/http"
	"os"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
)

func main() {
	l, err := net.Listen("tcp", net.JoinHostPort(os.Getenv("LISTEN_ADDRESS"), os.Getenv("PORT")))
	if err != nil {
		log.Fatal(err)
	}
	client, err := cloudevents.NewClientHTTP(cehttp.WithListener(l), cehttp.WithGetHandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(client.StartReceiver(context.Background(), func(cloudevents.Event) {}))
}
