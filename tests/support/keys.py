"What the tests of keys share"

KEY = "sk-test-that-nobody-may-read-0815"
