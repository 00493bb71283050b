Rails.application.routes.draw do
  root to: "hello#show"
end
