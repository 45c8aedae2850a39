package main

import (
	"context"
	"errors"
)

var errTodo = errors.New("to be written")

func (s *suite) senderIdentity(ctx context.Context) error { return errTodo }
