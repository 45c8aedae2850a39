// Command tosca takes TOSCA recipes as XOS did and makes models of them, with the rights of whoever sends them.
package main

import (
	"context"
	"net/http"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/tosca/server"
)

func main() {
	function.Main("tosca", func(context.Context) (http.Handler, error) {
		env, err := function.Env[server.Env]()
		if err != nil {
			return nil, err
		}
		api, err := env.API()
		if err != nil {
			return nil, err
		}
		return server.New(server.Options{API: api, UsersDir: env.UsersDir})
	})
}
