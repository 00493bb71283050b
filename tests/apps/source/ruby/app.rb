require "sinatra"

set :bind, "0.0.0.0"
set :port, ENV["PORT"]

get("/") { "hello from Ruby\n" }
