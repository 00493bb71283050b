class HelloController < ActionController::Base
  def show
    render plain: "hello from Rails #{Rails.version} on Ruby #{RUBY_VERSION}\n"
  end
end
