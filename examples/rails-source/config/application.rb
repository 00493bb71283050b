require "action_controller/railtie"

class Demo < Rails::Application
  config.load_defaults 6.1
  config.eager_load = true
  config.logger = Logger.new($stdout)
  # A service that keeps sessions or signs things has its own, as a secret.
  config.secret_key_base = ENV.fetch("SECRET_KEY_BASE") { SecureRandom.hex(64) }
end
