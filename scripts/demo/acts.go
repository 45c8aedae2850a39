package main

import (
	"context"
	"fmt"
)

// declare applies the sample models and waits until the steps have done their
// work: one guest is greeted, the policy has deleted the two unwelcome ones.
func (s *stage) declare(ctx context.Context) error {
	if err := s.apply(ctx, "config/samples/hello-world.yml"); err != nil {
		return err
	}
	err := s.until(ctx, "daenerys is Ready, tyrion and joffrey are gone", func() (bool, error) {
		ready, err := s.ready(ctx, "helloworldserviceinstances", "daenerys")
		if err != nil || !ready {
			return false, err
		}
		names, err := s.names(ctx, "helloworldserviceinstances")
		return len(names) == 1, err
	})
	if err != nil {
		return err
	}
	if err := s.table(ctx); err != nil {
		return err
	}
	return s.greets(ctx, "Jhon Snow is saying hello to Daenerys Targaryen")
}

// rename changes the service; its instance has to follow.
func (s *stage) rename(ctx context.Context) error {
	if err := s.patch(ctx, "helloworldservices", "helloworld", `{"spec":{"helloFrom":"Arya Stark"}}`); err != nil {
		return err
	}
	return s.greets(ctx, "Arya Stark is saying hello to Daenerys Targaryen")
}

// rest waits until all functions are back at zero.
func (s *stage) rest(ctx context.Context) error {
	return s.until(ctx, "no function process runs", func() (bool, error) {
		for _, p := range s.system.Programs() {
			if p.Function && p.Running() {
				return false, nil
			}
		}
		return true, nil
	})
}

// remove deletes the models; the greeter has to forget them.
func (s *stage) remove(ctx context.Context) error {
	for _, resource := range []string{"helloworldservices", "helloworldserviceinstances"} {
		if err := s.deleteAll(ctx, resource); err != nil {
			return err
		}
	}
	err := s.until(ctx, "no model is left", func() (bool, error) {
		services, err := s.names(ctx, "helloworldservices")
		if err != nil {
			return false, err
		}
		instances, err := s.names(ctx, "helloworldserviceinstances")
		return len(services)+len(instances) == 0, err
	})
	if err != nil {
		return err
	}
	if err := s.greets(ctx); err != nil {
		return err
	}
	fmt.Println("The greeter is empty.")
	return nil
}
