package main

import (
	"context"
	"errors"
)

var errTodo = errors.New("to be written")

func (s *suite) pulled(ctx context.Context) error {
	if err := needs("pull"); err != nil {
		return err
	}
	return errTodo
}

func (s *suite) evented(ctx context.Context) error {
	if err := needs("event"); err != nil {
		return err
	}
	return errTodo
}

func (s *suite) deadLettered(ctx context.Context) error {
	if err := needs("event", "deadletter"); err != nil {
		return err
	}
	return errTodo
}

func (s *suite) recipe(ctx context.Context) error {
	if err := needs("tosca"); err != nil {
		return err
	}
	return errTodo
}

func (s *suite) senderIdentity(ctx context.Context) error { return errTodo }
