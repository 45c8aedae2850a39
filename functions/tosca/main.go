// Command tosca takes TOSCA recipes as XOS did and makes models of them, with the
// rights of whoever sends them. README.md is for those who come from XOS.
package main

import (
	"context"
	"net/http"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/tosca/server"
)

func main() { function.Main("tosca", build) }

func build(_ context.Context, env server.Env) (http.Handler, error) {
	api, err := env.API()
	if err != nil {
		return nil, err
	}
	return server.New(server.Options{API: api, UsersDir: env.UsersDir})
}
